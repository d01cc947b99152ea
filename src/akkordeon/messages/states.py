"""Snapshots of a gate or a sentinel: its state to save or restart from, its status, its place in the data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from akkordeon.messages.histogram import Histogram
from akkordeon.messages.process import ProcessStatus


@dataclass(frozen=True, slots=True)
class StateOf:
    """From outside, an ask to a gate for its state. Answered with a `GateState`, or with the error of a `state_dict`.

    Args:
        whole: everything needed to resume; otherwise weights and buffers alone.
    """

    whole: bool


@dataclass(frozen=True, slots=True)
class GateState:
    """A gate at one version: copies of its tensors.

    Args:
        name: of the gate.
        prefix: of its weights' names in the whole network.
        version: updates applied so far.
        weights: parameters and buffers, as `nn.Module.state_dict` has them, by their names in the gate.
        rest: what optimizer, scheduler, compensations and accumulation keep, further buffers, and random generators.
        kinds: what these are, in words.
    """

    name: str
    prefix: str
    version: int
    weights: dict[str, Tensor]
    rest: dict[str, Any]
    kinds: dict[str, str]


@dataclass(frozen=True, slots=True)
class StatusOf:
    """From outside, an ask to a gate or a sentinel for its status: a `GateStatus` or a `SentinelStatus`."""


@dataclass(frozen=True, slots=True)
class GateStatus:
    """The progress of a gate.

    Args:
        name: of the gate.
        version: updates applied so far.
        open: batches that were forwarded and whose gradient has not come back.
        staleness: of all updates since the gate was started; a restart begins with none.
        skipped: gradients that were not applied, by reason.
        gradient_norm: over all weights of the gate, as gradients arrive; a moving mean over some of them.
        correction_norm: likewise of what compensations add, to the gradient or, in learning rates, to the weights.
        seconds: that a forward or backward takes if nothing is in its way: the mean of both, each the lower quartile of
            50; 0 until there were so many.
        alone: why it computes one batch at a time; empty where it does not.
        waiting: messages in its mailbox.
        spent: where its seconds have gone since it began: "forward", "backward", "update" and "evaluation"; "lock", it
            waited for the random lock; "ready", it had something to do, and no worker was free; "starved", it had
            nothing to do. Together that is all of it; the time of two computations at once is divided between them.
        in_mailbox: seconds that the latest messages waited in the mailbox: p50 and p95.
        kept_bytes: of inputs and outputs of the batches that are open; what autograd keeps in between is not counted.
        sent: messages and bytes of their tensors, "downstream" and "upstream".
        learning_rate: of the first group of the optimizer; None where there is none.
        process: where it lives.
        upstream: name of the gate before it; empty for the first one, and while that is being restarted.
    """

    name: str
    version: int
    open: int
    staleness: Histogram
    skipped: dict[str, int]
    gradient_norm: float = 0.0
    correction_norm: float = 0.0
    seconds: float = 0.0
    alone: str = ""
    waiting: int = 0
    spent: Mapping[str, float] = field(default_factory=dict)
    in_mailbox: tuple[float, float] = (0.0, 0.0)
    kept_bytes: int = 0
    sent: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    learning_rate: float | None = None
    process: ProcessStatus | None = None
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A position of a loader: before batch `index` of `epoch`.

    Args:
        epoch: from 1.
        index: from 0.
        state: what the loader needs to go on from there: plain values and tensors.
        exact: whether it will go on with the same batches; otherwise its epoch must begin again.
        length: batches in an epoch; None where the loader does not tell.
    """

    epoch: int
    index: int
    state: list[Any]
    exact: bool
    length: int | None


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a training sentinel in its data, with nothing in flight; plain values and tensors.

    Args:
        epoch: of the batch that is next.
        index: of the batch that is next.
        mark: where its loader stood, at that batch or before.
        figures: what it knows of that epoch so far.
    """

    epoch: int
    index: int
    mark: Mark
    figures: dict[str, Any] | None
