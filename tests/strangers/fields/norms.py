"""Layers of normalisation, with all that they keep."""

import torch
from torch import Tensor, nn

from tests.strangers.entry import BATCH, WIDTH, Chain, Entry, floats
from tests.strangers.parts import flat, head, linear


class Renorm(nn.Module):
    """Batch renormalisation: corrects by its running statistics, and counts its batches in a buffer."""

    mean: Tensor
    deviation: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("deviation", torch.ones(WIDTH))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self.mean) / self.deviation
        mean, deviation = x.mean(0), x.std(0, unbiased=False) + 1e-5
        most = 1 + int(self.batches) / 10
        r = (deviation.detach() / self.deviation).clamp(1 / most, most)
        d = ((mean.detach() - self.mean) / self.deviation).clamp(1 - most, most - 1)
        self.mean += 0.1 * (mean.detach() - self.mean)
        self.deviation += 0.1 * (deviation.detach() - self.deviation)
        self.batches += 1
        return (x - mean) / deviation * r + d


class Ghost(nn.Module):
    """BatchNorm over parts of a batch, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH, momentum=0.2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(part) for part in x.chunk(2)])


def normed(norm: nn.Module) -> Chain:
    return [linear(), norm, head()]


def over_time(norm: nn.Module) -> Chain:
    return [nn.Conv1d(4, 4, 3), norm, flat(24)]


long = floats(4, WIDTH)

ENTRIES = {
    "BatchNorm": Entry(lambda: normed(nn.BatchNorm1d(WIDTH))),
    "BatchNorm of all batches alike": Entry(lambda: normed(nn.BatchNorm1d(WIDTH, momentum=None))),
    "BatchNorm without weights": Entry(lambda: normed(nn.BatchNorm1d(WIDTH, affine=False))),
    "BatchNorm without statistics": Entry(lambda: normed(nn.BatchNorm1d(WIDTH, track_running_stats=False))),
    "BatchNorm of processes, in one": Entry(lambda: normed(nn.SyncBatchNorm(WIDTH))),
    "BatchNorm of double precision": Entry(
        lambda: [nn.Linear(WIDTH, WIDTH).double(), nn.BatchNorm1d(WIDTH).double(), head().double()],
        floats(WIDTH, dtype=torch.double),
    ),
    "BatchNorm over parts of a batch": Entry(lambda: normed(Ghost()), sizes=(BATCH,) * 5),
    "batch renormalisation": Entry(lambda: normed(Renorm()), in_turn=True),
    "InstanceNorm with statistics": Entry(
        lambda: over_time(nn.InstanceNorm1d(4, track_running_stats=True, affine=True)), long
    ),
    "GroupNorm, RMSNorm and local response": Entry(
        lambda: [*over_time(nn.Sequential(nn.GroupNorm(2, 4), nn.LocalResponseNorm(2)))[:2], nn.RMSNorm(6), flat(24)],
        long,
    ),
}
