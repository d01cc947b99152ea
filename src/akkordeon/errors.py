"""All errors of akkordeon, and whose fault each is.

AkkordeonError
├── WiringError           gates, sentinels or settings that do not work together      (yours)
├── ActorNotFound         no actor of that name; lists those that exist               (yours)
├── NameTaken             an actor of that name exists already                        (yours)
├── SharedTensorWritten   a tensor was modified after it was sent or received         (yours)
├── RecipeError           an invalid recipe, or invalid options of a recipe           (yours)
├── CheckpointMismatch    a save does not fit the gates; lists every difference       (yours)
├── TokenUnusable         a token that is missing, malformed, or readable by others   (yours)
├── SaveFailed            a network could not be saved; earlier saves are intact      (outside)
├── CheckpointDamaged     a save is missing, incomplete or modified                   (outside)
├── Unreachable           no usable network at an address; says why                   (outside)
├── NodeFailed            the node of this machine did not start                      (outside)
├── NoAnswer              no answer within a time limit                               (outside)
├── ActorFailed           an actor raised; `__cause__` is the original                (outside)
├── UpdateFailed          a gradient could not be applied; the weights may be torn    (outside)
├── BatchRefused          a gate could not compute a batch; names gate and batch      (outside)
├── BatchLost             a batch did not come back within its time limit             (outside)
├── SentinelFailed        loader, loss or metric of a sentinel failed                 (outside)
└── DataUnavailable       a data set could not be downloaded, or is damaged           (outside)

A message says what happened, with which value, where (gate, sentinel, batch), and what to do.
"""


class AkkordeonError(Exception):
    """Base of all errors that akkordeon raises itself."""


class WiringError(AkkordeonError, ValueError):
    """Gates, sentinels or settings that do not work together."""


class ActorNotFound(AkkordeonError, LookupError):
    """No actor of that name; the message lists those that exist."""


class NameTaken(AkkordeonError, ValueError):
    """An actor of that name exists already."""


class SharedTensorWritten(AkkordeonError):
    """A tensor was modified after it had been sent or received."""


class RecipeError(AkkordeonError, ValueError):
    """An invalid recipe, or invalid options of a recipe."""


class CheckpointMismatch(AkkordeonError, ValueError):
    """A save does not fit the gates; the message lists every difference."""


class CheckpointDamaged(AkkordeonError, OSError):
    """A save is missing, incomplete, or was modified since it was written."""


class SaveFailed(AkkordeonError, OSError):
    """A network could not be saved; earlier saves are intact."""


class TokenUnusable(AkkordeonError, ValueError):
    """A token that is missing, malformed, or readable by other users; or a network beyond this machine without one."""


class Unreachable(AkkordeonError, ConnectionError):
    """There is no usable network at an address.

    Args:
        text: what was found instead, and what to do.
        cause: the same in a word, one of `akkordeon.engines.ray.cluster.Cause`.
    """

    def __init__(self, text: str, cause: str = "") -> None:
        super().__init__(text)
        self.cause = cause


class NodeFailed(AkkordeonError):
    """The node of this machine did not start; the message ends with the last lines of its output."""


class NoAnswer(AkkordeonError, TimeoutError):
    """No answer came within the time limit."""


class ActorFailed(AkkordeonError):
    """An actor raised and has ended; `__cause__` is what it raised."""


class UpdateFailed(AkkordeonError):
    """Optimizer, scheduler or compensation of a gate raised, so its weights may be torn: the gate is replaced.

    Args:
        text: what happened.
        batch: whose gradient was being applied; None if that is not known.
        version: of the gate's weights, which were to be updated.
    """

    def __init__(self, text: str, batch: object = None, version: int | None = None) -> None:
        super().__init__(text)
        self.batch = batch
        self.version = version


class BatchRefused(AkkordeonError):
    """A gate could not compute a batch; its weights are untouched. `__cause__` is what its module raised."""


class BatchLost(AkkordeonError):
    """A batch did not come back within its time limit."""


class SentinelFailed(AkkordeonError):
    """The loader, the loss or a metric of a sentinel failed; `__cause__` is the original, where there is one."""


class DataUnavailable(AkkordeonError):
    """A data set could not be downloaded, or is damaged."""


class RunUnreadable(AkkordeonError):
    """There is no run in a folder, or it cannot be shown."""
