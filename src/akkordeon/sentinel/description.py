"""Describes sentinels: data, loss and metrics. `SentinelActor` runs one."""

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal

from torch import nn

from akkordeon.errors import WiringError
from akkordeon.messages.reports import Kind, Report
from akkordeon.sentinel.batch import Size
from akkordeon.sentinel.loss import Loss
from akkordeon.sentinel.metrics import Gauge, Metrics

Data = Callable[[], Iterable[object]]
"""Makes a loader: a `DataLoader`, or any iterable of pairs (x, target), such as `partial(batches, "train")`."""

Until = Callable[[Report], bool]
"""Takes the report on an epoch; returns whether the sentinel ends after it."""

Window = int | Literal["auto"]
"""How many batches may be in flight; "auto" is found out while training."""


@dataclass(frozen=True)
class Sentinel(ABC):
    """Describe what all sentinels have in common.

    Args:
        name: unique in its network.
        data: makes the loader, in the process where the sentinel runs: an iterable of pairs (x, target). x is a tensor,
            or a tuple, list or mapping of tensors; the target may be anything, and is given to loss and metrics as it
            is. Each batch must be made of new tensors. Where the loader, its sampler, batch sampler or data set has a
            method `set_epoch`, it is called before each epoch, with the number of the epoch from 0.
        loss: takes the network's output and the target; returns their mean loss over the batch, a scalar tensor. It may
            depend on nothing else that requires a gradient.
        metrics: other figures to report, by name: callables as the loss, whose means over an epoch are weighted by
            batch size as its are, or objects with `update`, `compute` and `reset`, such as `Perplexity()` and the
            metrics of torchmetrics.
        in_flight: how many batches it has in flight at once; at least 1. A training sentinel also takes "auto": as few
            as keep the slowest gate, or the cores, busy, at most 16. It begins with 1 and finds that while it runs.
        epochs: end after this many passes through the data.
        seconds: end after this time.
        until: takes a report; the sentinel ends after the first one for which it returns True.
        time_limit: seconds for which one gate may compute a batch, and after which a loader that yields nothing has
            failed. How long batches wait for each other does not count.
        seed: for the shuffling of a `DataLoader` that has no generator of its own; None derives one from
            `torch.initial_seed()` and the name.
        size: takes x and target of a batch, returns how many samples it counts for, such as `lambda x, target: len(x)`
            where x is a list with an image for each sample. None counts the first dimension of the first tensor in x;
            or the length of x, where that is a list of sequences of different lengths, or holds no tensor.

    Raises:
        WiringError: a value cannot work; the text says which, and what to do.
    """

    kind: ClassVar[Kind]

    name: str
    data: Data
    loss: Loss | None = None
    metrics: Metrics = field(default_factory=dict)
    _: KW_ONLY
    in_flight: Window = 1
    epochs: int | None = None
    seconds: float | None = None
    until: Until | None = None
    time_limit: float = 30.0
    seed: int | None = None
    size: Size | None = None

    def __post_init__(self) -> None:
        who = f"{type(self).__name__} {self.name!r}"
        if not isinstance(self.name, str) or not self.name or self.name != self.name.strip():
            raise WiringError(f"the name of a sentinel must be a word, not {self.name!r}")
        if not callable(self.data):
            raise WiringError(
                f"{who}: data must be a callable that makes the loader, not a {type(self.data).__name__}; "
                "wrap it, as in data=lambda: loader"
            )
        if self.loss is None and self.kind != "test":
            raise WiringError(f"{who} needs a loss: a callable of output and target, such as F.cross_entropy")
        if self.loss is not None and not callable(self.loss):
            raise WiringError(f"{who}: loss must be a callable of output and target, not {self.loss!r}")
        if self.size is not None and not callable(self.size):
            raise WiringError(f"{who}: size must be a callable of x and target, not {self.size!r}")
        if isinstance(self.loss, nn.Module) and any(each.requires_grad for each in self.loss.parameters()):
            why = "its loss has trainable parameters, which would not be trained; put them into a gate"
            raise WiringError(f"{who}: {why}")
        _check_metrics(who, self.metrics)
        _check_numbers(who, self)

    @property
    def last_epoch(self) -> int | None:
        """The epoch after which it ends; None if it goes on."""
        return self.epochs

    @property
    def ends(self) -> bool:
        """Whether it ends by itself."""
        return self.last_epoch is not None or self.seconds is not None or self.until is not None


@dataclass(frozen=True)
class TrainingSentinel(Sentinel):
    """Train the network: send batches through the gates, and gradients back.

    With `in_flight=1` and no other sentinel, training is exactly that of a plain PyTorch loop at one intra-op thread on
    the same batches; with more, batches overlap and gradients are stale. It goes on until it is detached, unless
    `epochs`, `seconds` or `until` is given.

    Args: as for `Sentinel`; the loss is required.

    Raises:
        WiringError: a value cannot work; the text says which, and what to do.
    """

    kind: ClassVar[Kind] = "train"


@dataclass(frozen=True, kw_only=True)
class ValidationSentinel(Sentinel):
    """Measure the network on other data, while training goes on; change nothing.

    Args: as for `Sentinel`; the loss is required; and
        every: seconds from the beginning of one pass to the next; the first one begins after as long. A pass that comes
            due while one is running is skipped and counted. None makes one pass at once, then ends.

    Raises:
        WiringError: a value cannot work; the text says which, and what to do.
    """

    kind: ClassVar[Kind] = "validate"

    every: float | None = None
    in_flight: int = 4

    @property
    def last_epoch(self) -> int | None:
        """The pass after which it ends: the only one, if there is no `every`."""
        return 1 if self.every is None else self.epochs


@dataclass(frozen=True, kw_only=True)
class TestSentinel(Sentinel):
    """Make one pass through the data; report the outputs in order, and figures where there are targets.

    The data may yield pairs (x, target), or x alone.

    Args: as for `Sentinel`; and
        outputs: keep the outputs for the report; the network lets go of them once a watcher has it.

    Raises:
        WiringError: a value cannot work; the text says which, and what to do.
    """

    __test__: ClassVar[bool] = False  # for pytest: not a test
    kind: ClassVar[Kind] = "test"

    outputs: bool = True
    in_flight: int = 4

    @property
    def last_epoch(self) -> int:
        """The only one."""
        return 1


def _check_numbers(who: str, sentinel: Sentinel) -> None:
    for setting in ("in_flight", "epochs", "seconds", "time_limit", "every"):
        value = getattr(sentinel, setting, None)
        if (sentinel.kind, setting, value) == ("train", "in_flight", "auto"):
            continue
        if setting in ("in_flight", "epochs") and not isinstance(value, int | None):
            raise WiringError(f"{who}: {setting} must be a whole number, not {value!r}")
        if value is not None and not value > 0:
            raise WiringError(f"{who}: {setting} must be more than 0, not {value}")
    if sentinel.last_epoch == 1 and sentinel.epochs not in (None, 1):
        raise WiringError(f"{who} makes one pass, so epochs={sentinel.epochs} cannot work; a validation needs `every`")


def _check_metrics(who: str, metrics: Metrics) -> None:
    if not isinstance(metrics, Mapping):
        given = type(metrics).__name__
        raise WiringError(
            f'{who}: metrics must be a dict of callables by name, such as {{"accuracy": accuracy}}, not a {given}'
        )
    if "loss" in metrics:
        raise WiringError(f"{who}: a metric cannot be named 'loss', which is the name of the loss; choose another name")
    for name, metric in metrics.items():
        if isinstance(metric, type) or not (callable(metric) or isinstance(metric, Gauge)):
            raise WiringError(
                f"{who}: metric {name!r} must be a callable of output and target, or an object with update, compute "
                f"and reset, such as Perplexity(), not {metric!r}"
            )
