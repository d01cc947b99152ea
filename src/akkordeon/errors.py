"""What can go wrong, and whose doing it was.

AkkordeonError
├── WiringError           gates, sentinels or settings that cannot work together      (yours)
├── ActorNotFound         no actor of that name; lists those that exist               (yours)
├── NameTaken             an actor of that name exists already                        (yours)
├── SharedTensorWritten   a tensor was written after it was sent, or once received    (yours)
├── RecipeError           a recipe that cannot be used: what it lacks, or its options (yours)
├── CheckpointMismatch    what was saved and the gates differ; lists every difference (yours)
├── TokenUnusable         a token that is missing, odd, or that others can read       (yours)
├── SaveFailed            a network could not be saved; earlier saves are untouched   (outside)
├── CheckpointDamaged     what was saved is missing, torn, or not what it was         (outside)
├── Unreachable           no network that can be used at an address; says why         (outside)
├── NodeFailed            this machine's share of a network did not start             (outside)
├── NoAnswer              nobody answered within a time limit                         (outside)
├── ActorFailed           an actor raised; `__cause__` is the original                (outside)
├── UpdateFailed          a gradient could not be applied; the gate may be torn       (outside)
├── BatchRefused          a gate could not compute a batch; names gate and batch      (outside)
├── BatchLost             a batch did not come back within its time limit             (outside)
├── SentinelFailed        loader, loss or metric of a sentinel failed                 (outside)
└── DataUnavailable       a data set could not be fetched or is damaged               (outside)

A message says what happened, with which value, where (gate, sentinel, batch), and what to do.
"""


class AkkordeonError(Exception):
    """Base of all errors that akkordeon raises on its own account."""


class WiringError(AkkordeonError, ValueError):
    """Gates, sentinels or settings that cannot work together."""


class ActorNotFound(AkkordeonError, LookupError):
    """No actor of that name; the message lists those that exist."""


class NameTaken(AkkordeonError, ValueError):
    """An actor of that name exists already."""


class SharedTensorWritten(AkkordeonError):
    """Somebody wrote into a tensor that had been sent, or that had been received."""


class RecipeError(AkkordeonError, ValueError):
    """A recipe that cannot be used, or options that it does not have."""


class CheckpointMismatch(AkkordeonError, ValueError):
    """What was saved does not fit these gates; the message lists every difference."""


class CheckpointDamaged(AkkordeonError, OSError):
    """What was saved is missing, torn, or not what it was when it was written."""


class SaveFailed(AkkordeonError, OSError):
    """A network could not be saved; whatever was saved before is as it was."""


class TokenUnusable(AkkordeonError, ValueError):
    """A token that is missing, that is no token, or that others can read; or a network that would go without."""


class Unreachable(AkkordeonError, ConnectionError):
    """At an address, there is no network that can be used.

    Args:
        text: what is there instead, and what to do.
        cause: the same in a word, of `akkordeon.engines.ray.cluster.Cause`.
    """

    def __init__(self, text: str, cause: str = "") -> None:
        super().__init__(text)
        self.cause = cause


class NodeFailed(AkkordeonError):
    """This machine's share of a network did not start; the message ends with the last lines of its output."""


class NoAnswer(AkkordeonError, TimeoutError):
    """Nobody answered within the time limit."""


class ActorFailed(AkkordeonError):
    """An actor raised and has ended; `__cause__` is what it raised."""


class UpdateFailed(AkkordeonError):
    """Optimizer, scheduler or compensation of a gate raised, so its weights may be torn: the gate is replaced.

    Args:
        text: what happened.
        batch: at which batch.
    """

    def __init__(self, text: str, batch: object = None) -> None:
        super().__init__(text)
        self.batch = batch


class BatchRefused(AkkordeonError):
    """A gate could not compute a batch; its weights are untouched. `__cause__` is what its module raised."""


class BatchLost(AkkordeonError):
    """A batch did not come back within its time limit."""


class SentinelFailed(AkkordeonError):
    """The loader, the loss or a metric of a sentinel failed; `__cause__` is the original, where there is one."""


class DataUnavailable(AkkordeonError):
    """A data set could not be fetched, or what was found is damaged."""
