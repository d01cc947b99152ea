"""Delays of the simulation: of messages on their way, of turns and of computations.

A delay is a number of seconds, or a function that draws one. It is given a random generator and two names: sender and
receiver of a message, or an actor and the kind of what it does. That kind is the type of the message that it handles
or computes for, followed by "then" where a computation is over, and "start" where the actor is made.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

Delay = Callable[[random.Random, str, str], float]
"""Draws seconds, given two names."""


def _check(what: str, *values: float) -> None:
    for value in values:
        if not 0.0 <= value < math.inf:
            raise ValueError(f"{what}: a delay must be a number of seconds that is not negative, not {value}")


def constant(seconds: float) -> Delay:
    """Take always the same time."""
    _check("constant", seconds)
    return lambda _random, _first, _second: seconds


def uniform(shortest: float, longest: float) -> Delay:
    """Draw evenly between two bounds."""
    _check("uniform", shortest, longest - shortest)
    return lambda random, _first, _second: random.uniform(shortest, longest)


def exponential(mean: float) -> Delay:
    """Draw as between events that know nothing of each other."""
    _check("exponential", mean)
    return lambda random, _first, _second: random.expovariate(1.0) * mean


def normal(mean: float, spread: float) -> Delay:
    """Draw around a mean with a standard deviation; what would be less than nothing is nothing."""
    _check("normal", mean, spread)
    return lambda random, _first, _second: max(0.0, random.gauss(mean, spread))


def lognormal(mean: float, spread: float) -> Delay:
    """Draw around a mean, with a long tail: `spread` is the standard deviation of the logarithm."""
    _check("lognormal", mean, spread)
    scale = mean * math.exp(-(spread**2) / 2)
    return lambda random, _first, _second: scale * math.exp(random.gauss(0.0, spread))


def by_actor(delays: Mapping[str, Delay | float], otherwise: Delay | float) -> Delay:
    """Tell actors apart: stragglers, say. Of a message it is the sender that counts."""
    known = {name: as_delay(delay) for name, delay in delays.items()}
    rest = as_delay(otherwise)
    return lambda random, first, second: known.get(first, rest)(random, first, second)


def as_delay(delay: Delay | float) -> Delay:
    """Return a function for a number."""
    return delay if callable(delay) else constant(delay)


SHORT = exponential(0.001)
"""A millisecond, on average."""


@dataclass(frozen=True)
class Delays:
    """How long everything takes; each a number of seconds or a function that draws one.

    Args:
        link: a message on its way, given the names of sender and receiver.
        turn: a turn, given the actor's name and the kind of turn. What it tells is let go at its end.
        work: a computation, likewise. Its result is there at its end.
        wake: until a worker that sleeps takes up what waits for it, given that actor's name and "wake". Only where
            actors share workers.
    """

    link: Delay | float = SHORT
    turn: Delay | float = 0.0
    work: Delay | float = SHORT
    wake: Delay | float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            delay = getattr(self, field.name)
            if not callable(delay):
                _check(field.name, delay)


def draws(what: str, delay: Delay | float, seed: int) -> Callable[[str, str], float]:
    """Return a function that draws from a delay, with a generator of its own, and refuses what is no time."""
    if not callable(delay):
        seconds = float(delay)
        return lambda _first, _second: seconds
    source = random.Random(f"{seed} {what}")  # noqa: S311 - a simulation, not a secret

    def draw(first: str, second: str) -> float:
        drawn = delay(source, first, second)
        if not 0.0 <= drawn < math.inf:
            raise ValueError(f"a delay must be a number of seconds, not {drawn}: {what} of {first}, {second}")
        return drawn

    return draw
