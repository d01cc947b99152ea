"""Teachers that follow their students, queues and banks of what was seen."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tests.strangers.entry import BATCH, WIDTH, Chain, Entry
from tests.strangers.parts import head, linear


class InBuffers(nn.Module):
    """A teacher of one layer, whose weights are moving means in buffers."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("weight", self.student.weight.detach().clone())

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.weight.lerp_(self.student.weight.detach(), 0.1)
        return self.student(x) + x @ self.weight.t()


class Teacher(nn.Module):
    """A frozen copy of the student, which follows it in each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.student = linear()
        self.teacher = copy.deepcopy(self.student).requires_grad_(requires_grad=False)

    def follow(self, mine: nn.Parameter, its: nn.Parameter) -> None:
        with torch.no_grad():
            mine.mul_(0.9).add_(its, alpha=0.1)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            for mine, its in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                self.follow(mine, its)
        return self.student(x) + self.teacher(x)


class ByData(Teacher):
    def follow(self, mine: nn.Parameter, its: nn.Parameter) -> None:
        mine.data.mul_(0.9).add_(its.data, alpha=0.1)


class ByNewData(Teacher):
    def follow(self, mine: nn.Parameter, its: nn.Parameter) -> None:
        mine.data = mine.data * 0.9 + its.data * 0.1


class Averaged(nn.Module):
    """The teacher is `torch.optim.swa_utils.AveragedModel`."""

    def __init__(self) -> None:
        super().__init__()
        self.student = linear()
        average = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
        self.teacher = AveragedModel(self.student, multi_avg_fn=average)

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.teacher.update_parameters(self.student)
        return self.student(x) + self.teacher(x).detach()


class Hidden(nn.Module):
    """A frozen teacher in a list, so that nothing counts it among the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.student = linear()
        self.teachers = [linear().requires_grad_(requires_grad=False).eval()]

    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            told = self.teachers[0](x)
        return self.student(x) - told


class Distilled(nn.Module):
    """A frozen teacher in evaluation mode, with dropout and BatchNorm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.2))
        self.teacher = copy.deepcopy(self.student).requires_grad_(requires_grad=False).eval()

    def forward(self, x: Tensor) -> Any:
        return self.student(x) - self.teacher(x)


class Queue(nn.Module):
    """A ring of keys with a pointer, as MoCo has it."""

    keys: Tensor
    pointer: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("keys", normalize(torch.randn(WIDTH, 4 * BATCH), dim=0))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        near = x @ self.keys.clone()
        if self.training:
            at = int(self.pointer)
            self.keys[:, at : at + len(x)] = normalize(x.detach(), dim=1).t()
            self.pointer[0] = (at + len(x)) % self.keys.shape[1]
        return near


class Bank(nn.Module):
    """Remembers the features of each sample, at the place that comes with it."""

    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("bank", torch.zeros(20, WIDTH))

    def forward(self, given: tuple[Tensor, Tensor]) -> Any:
        x, places = given
        x = self.linear(x)
        before = self.bank[places]
        if self.training:
            self.bank.index_copy_(0, places, x.detach())
        return x - 0.5 * before


def with_places(size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(size, WIDTH), torch.randperm(20)[:size]


def pupil(teaching: nn.Module) -> Chain:
    return [linear(), teaching, head()]


WRITTEN = "weight|parameter"
"""A teacher among the parameters that a forward writes: trained as it is, or refused."""

ENTRIES = {
    "teacher in buffers": Entry(lambda: pupil(InBuffers()), in_turn=True),
    "frozen teacher that follows in place": Entry(lambda: pupil(Teacher()), apart=False),
    "frozen teacher that follows by .data": Entry(lambda: pupil(ByData()), apart=False),
    "frozen teacher that follows by new .data": Entry(lambda: pupil(ByNewData()), apart=False),
    "averaged model": Entry(lambda: pupil(Averaged()), refused=WRITTEN),
    "teacher hidden in a list": Entry(lambda: pupil(Hidden())),
    "teacher in evaluation mode": Entry(lambda: pupil(Distilled())),
    "ring of keys with a pointer": Entry(
        lambda: [linear(), Queue(), head(4 * BATCH)], sizes=(BATCH,) * 6, in_turn=True
    ),
    "bank of what was seen": Entry(lambda: [Bank(), head()], with_places, in_turn=True),
}
