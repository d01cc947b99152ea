"""Sentinels: data, loss and metrics. These classes describe; `SentinelActor` (sentinel_actor.py) lives."""

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal

from torch import nn

from akkordeon.errors import WiringError
from akkordeon.messages.reports import Kind, Report
from akkordeon.sentinel.loss import Loss
from akkordeon.sentinel.metrics import Gauge, Metrics

Data = Callable[[], Iterable[object]]
"""Makes a loader: a `DataLoader`, or any iterable of pairs (x, target), such as `partial(batches, "train")`."""

Until = Callable[[Report], bool]

Window = int | Literal["auto"]


@dataclass(frozen=True)
class Sentinel(ABC):
    """What all sentinels have in common.

    Args:
        name: unique in its network.
        data: makes the loader; called where the sentinel lives. Each batch must be made of new tensors.
        loss: mean loss of a batch, a scalar tensor.
        metrics: other figures to report, by name: callables, whose means are weighted by batch size as the loss is, or
            objects with `update`, `compute` and `reset`, such as `Perplexity()` and those of torchmetrics.
        in_flight: how many batches it has out at once. Of a training sentinel also "auto": as few as keep the slowest
            gate, or the cores, busy, found while it runs, and no more than 16; it begins with 1.
        epochs: end after so many passes through the data.
        seconds: end after so long.
        until: end after the first report for which this holds.
        time_limit: seconds after which a batch that has not come back is lost, and a loader that yields nothing has
            failed.
        seed: of a `DataLoader`'s shuffling, where it has no generator of its own; None derives one from
            `torch.initial_seed()` and the name.

    Raises:
        WiringError: a value cannot work; says which, and what to do.
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

    def __post_init__(self) -> None:
        _check(self)

    @property
    def last_epoch(self) -> int | None:
        """The epoch after which it ends; None if there is no such."""
        return self.epochs

    @property
    def ends(self) -> bool:
        """Whether it ends by itself."""
        return self.last_epoch is not None or self.seconds is not None or self.until is not None


@dataclass(frozen=True)
class TrainingSentinel(Sentinel):
    """Trains the network: sends batches through the gates, and gradients back.

    With `in_flight=1` and no other sentinel, training is exactly that of a plain PyTorch loop at one intra-op thread on
    the same batches; with more, batches overlap and gradients are late. It goes on until it is detached, unless an end
    is given.

    Args: as `Sentinel`; the loss is needed.
    """

    kind: ClassVar[Kind] = "train"


@dataclass(frozen=True)
class ValidationSentinel(Sentinel):
    """Measures the network on other data, beside whatever else goes on; changes nothing.

    Args: as `Sentinel`; the loss is needed; and
        every: seconds between the beginnings of two passes, the first of which begins after as long. A pass that comes
            due while one is running is skipped and counted. None makes one pass at once, then ends.
    """

    kind: ClassVar[Kind] = "validate"

    _: KW_ONLY
    every: float | None = None
    in_flight: int = 4

    @property
    def last_epoch(self) -> int | None:
        """The pass after which it ends: the only one, if there is no `every`."""
        return 1 if self.every is None else self.epochs


@dataclass(frozen=True)
class TestSentinel(Sentinel):
    """Makes one pass through its data and yields the outputs in order, and figures where there are targets.

    Its data may yield pairs (x, target), or x alone.

    Args: as `Sentinel`; and
        outputs: keep the outputs for the report.
    """

    __test__: ClassVar[bool] = False  # for pytest: not a test
    kind: ClassVar[Kind] = "test"

    _: KW_ONLY
    outputs: bool = True
    in_flight: int = 4

    @property
    def last_epoch(self) -> int:
        """The only one."""
        return 1


def _check(sentinel: Sentinel) -> None:
    who = f"{type(sentinel).__name__} {sentinel.name!r}"
    name = sentinel.name
    if not isinstance(name, str) or not name or name != name.strip():
        raise WiringError(f"the name of a sentinel must be a word, not {sentinel.name!r}")
    if not callable(sentinel.data):
        raise WiringError(
            f"{who}: data is a {type(sentinel.data).__name__}, and must be a callable that makes the loader; "
            "wrap it, as in data=lambda: loader"
        )
    if sentinel.loss is None and sentinel.kind != "test":
        raise WiringError(f"{who} needs a loss: a callable of output and target, such as F.cross_entropy")
    if sentinel.loss is not None and not callable(sentinel.loss):
        raise WiringError(f"{who}: loss must be a callable of output and target, not {sentinel.loss!r}")
    if isinstance(sentinel.loss, nn.Module) and any(p.requires_grad for p in sentinel.loss.parameters()):
        raise WiringError(f"{who}: its loss has trainable parameters, which nobody would train; put them into a gate")
    _check_metrics(who, sentinel.metrics)
    _check_numbers(who, sentinel)


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
        raise WiringError(f"{who} makes one pass, so epochs={sentinel.epochs} cannot be; a validation needs `every`")


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
