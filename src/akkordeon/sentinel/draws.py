"""Defines the messages between a sentinel and its provider."""

from dataclasses import dataclass, field

from akkordeon.messages.states import Mark


@dataclass(frozen=True, slots=True)
class Draw:
    """From a sentinel, to its provider: prepare this many batches."""

    amount: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """From a provider, to its sentinel: a batch, as the loader yielded it.

    Args:
        epoch: from 1.
        item: the batch.
        index: in its epoch, from 0.
        mark: where the loader stood before this batch; with the first batch of each epoch, and now and then.
    """

    epoch: int
    item: object
    index: int = 0
    mark: Mark | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """From a provider, to its sentinel: all batches of an epoch have been drawn.

    Args:
        epoch: which.
        batches: how many it had.
        mark: where the loader stands now: before the first batch of the next epoch.
    """

    epoch: int
    batches: int
    mark: Mark | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class DrawFailed:
    """From a provider, to its sentinel: the loader raised."""

    error: Exception
