"""Takes over the buffers that concurrent forwards leave, as some order of the forwards would have left them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from akkordeon.gate.parameters import NamedTensors
from akkordeon.tensors import all_finite, dense_parts, same

FORWARDS = (_BatchNorm.forward, _InstanceNorm.forward, SyncBatchNorm.forward)
"""Those whose buffers are known to be means; a subclass that computes something else is not taken for one."""

COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class RunningMean:
    """How a buffer takes in a batch.

    Args:
        momentum: the weight of a batch; None for the plain mean of all batches so far.
        counter: the name of the buffer that counts the batches.
    """

    momentum: float | None
    counter: str

    def merge(self, name: str, current: NamedTensors, before: NamedTensors, after: NamedTensors) -> Tensor:
        """Return the mean that the forwards of `current` leave, followed by the one that led from `before` to `after`.

        With BatchNorm's `r' = (1 - m) r + m s`, the batch's own share is `after - (1 - m) before`, whatever `s` was.
        """
        num = int(after[self.counter] - before[self.counter]) if self.counter in after else 0
        keep = self._keep(after, num)
        share = after[name] - keep * before[name]
        if self.momentum is None and num:  # each batch weighs the same, so this one weighs less after others
            share = share * (int(after[self.counter]) / (int(current[self.counter]) + num))
            keep = self._keep(current, num, ahead=num)
        merged = keep * current[name] + share
        return merged.clamp(min=0) if name.endswith("running_var") else merged  # rounding may go below

    def _keep(self, buffers: NamedTensors, num: int, ahead: int = 0) -> float:
        if self.momentum is not None:
            return (1 - self.momentum) ** max(num, 1)
        total = int(buffers[self.counter]) + ahead
        return (total - num) / total if total else 0.0


def running_means(module: nn.Module) -> dict[str, RunningMean]:
    """Return those buffers of a module, by name, that are means over batches."""
    found: dict[str, RunningMean] = {}
    for prefix, part in module.named_modules():
        if isinstance(part, _NormBase) and type(part).forward in FORWARDS:
            at = f"{prefix}." if prefix else ""
            found |= {at + name: RunningMean(part.momentum, at + COUNTER) for name in ("running_mean", "running_var")}
    return found


def merge(
    current: NamedTensors, before: NamedTensors, after: NamedTensors, means: Mapping[str, RunningMean]
) -> NamedTensors | None:
    """Return the buffers after a forward that did not see what others have published since it began.

    Args:
        current: as published by others.
        before: as the forward found them.
        after: as it left them.
        means: those that are means over batches.

    Returns:
        None if only an order tells: the forward, and others in the meantime, changed buffers that are no means.
    """
    mine, theirs = set(_changed(before, after)), set(_changed(before, current))
    known = {*means, *(mean.counter for mean in means.values())}
    if mine - known and theirs - known:
        return None
    merged = dict(current)
    for name in mine:
        if name not in theirs or name not in known:
            merged.pop(name, None)
            merged |= {name: after[name]} if name in after else {}
        elif name in means:
            merged[name] = means[name].merge(name, current, before, after)
        else:
            merged[name] = current[name] + (after[name] - before[name])
    return merged


def spoils(before: NamedTensors, after: NamedTensors) -> bool:
    """Whether a forward left a NaN or an infinity in a buffer that had none."""
    if all_finite(_floats(after)):
        return False
    return any(
        name in before and all_finite(_floats({name: before[name]})) and not all_finite(_floats({name: buffer}))
        for name, buffer in after.items()
    )


def _floats(buffers: NamedTensors) -> list[Tensor]:
    return [part for each in buffers.values() for part in dense_parts(each) if part.is_floating_point()]


def _changed(these: NamedTensors, those: NamedTensors) -> Iterator[str]:
    for name in {*these, *those}:
        if name not in these or name not in those or not same(these[name], those[name]):
            yield name
