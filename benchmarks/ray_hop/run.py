"""What a hop costs on the engine on Ray, against the bare call of Ray with the same array.

A hop is one message, from the handler of one actor to that of the other, which sends on what it received. Both kinds of
players live on one cluster at once and take turns, a burst each: what slows the machine down slows both.

    python benchmarks/ray/main.py --arm hop  # prints JSON: seconds per hop of each burst
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from akkordeon.actor import Actor, Context, Ref
from akkordeon.engines import Ray

__all__ = ["PAIRS", "SIZES", "Burst", "measure"]

PAIRS = 7

SIZES = {"50 KB": (12_500, 400), "0.8 MB": (200_704, 200), "17 MB": (4_194_304, 32)}
"""Float32 numbers in a message, and hops in a burst; a burst takes half a second or so."""

IN_FLIGHT = (1, 16)

LIMIT = 60.0
"""Seconds that a burst may take."""


@dataclass(frozen=True)
class Burst:
    """To a player: send a few messages, and let them go to and fro.

    Args:
        numbers: in each message.
        hops: that each of them makes; an even number, so that they end where they began.
        in_flight: how many.
    """

    numbers: int
    hops: int
    in_flight: int


@dataclass(frozen=True)
class Token:
    """A message on its way, with the hops that are left, and its load."""

    left: int
    load: torch.Tensor

    def pack(self) -> tuple[tuple[object, ...], list[Any]]:
        """See `akkordeon.actor.Parcel.pack`."""
        return (self.left,), [self.load]

    @classmethod
    def unpack(cls, header: tuple[Any, ...], tensors: list[Any]) -> "Token":
        """See `akkordeon.actor.Parcel.unpack`."""
        return cls(header[0], tensors[0])


class Rally:
    """Counts the messages of a burst that have come home."""

    def begin(self, burst: Burst) -> None:
        self._out, self._hops = burst.in_flight, burst.in_flight * burst.hops
        self._began = time.perf_counter()

    def home(self) -> float | None:
        """Count one; with the last one, return seconds per hop."""
        self._out -= 1
        return None if self._out else (time.perf_counter() - self._began) / self._hops


class Player(Actor):
    """One of two actors, told of the other first."""

    def __init__(self, score: Ref) -> None:
        self._score = score
        self._rally = Rally()
        self._peer: Ref

    def receive(self, message: object, context: Context) -> object:  # noqa: ARG002 - the port
        match message:
            case Token(0, _):
                if (seconds := self._rally.home()) is not None:
                    self._score.tell(seconds)
            case Token(left, load):
                self._peer.tell(Token(left - 1, load))
            case Burst():
                load = torch.rand(message.numbers)
                self._rally.begin(message)
                for _ in range(message.in_flight):
                    self._peer.tell(Token(message.hops - 1, load))
            case _:
                self._peer = message  # type: ignore[assignment]
        return None


class BarePlayer:
    """One of two plain actors of Ray."""

    def __init__(self, score: Any) -> None:
        self._score = score
        self._rally = Rally()
        self._deliver: Any

    def meet(self, peer: Any) -> None:
        self._deliver = peer.deliver.options(num_returns=0)

    def start(self, burst: Burst) -> None:
        load = np.random.default_rng(0).random(burst.numbers, dtype=np.float32)
        self._rally.begin(burst)
        for _ in range(burst.in_flight):
            self._deliver.remote(burst.hops - 1, load)

    def deliver(self, left: int, load: Any) -> None:
        load = load.copy()  # or Ray would have to keep it for as long as somebody looks at it
        if left:
            self._deliver.remote(left - 1, load)
        elif (seconds := self._rally.home()) is not None:
            self._score.put(seconds)


def ours(engine: Ray) -> Callable[[Burst], float]:
    """Return what runs a burst on the engine."""
    inbox = engine.inbox("score")
    score = inbox.ref
    players = [engine.spawn(name, lambda: Player(score)) for name in ("ping", "pong")]
    for player, peer in zip(players, reversed(players), strict=True):
        player.tell(peer)

    def play(burst: Burst) -> float:
        players[0].tell(burst)
        seconds: float = inbox.take(timeout=LIMIT)
        return seconds

    return play


def bare() -> Callable[[Burst], float]:
    """Return what runs a burst on plain actors of Ray; this process must be connected to it."""
    import ray  # noqa: PLC0415 - reads its settings when it is imported, and the engine has set them
    from ray.util.queue import Queue  # noqa: PLC0415

    score = Queue(actor_options={"num_cpus": 0})
    remote: Any = ray.remote(num_cpus=0)(BarePlayer)
    players = [remote.remote(score) for _ in range(2)]
    for player, peer in zip(players, reversed(players), strict=True):
        ray.get(player.meet.remote(peer))

    def play(burst: Burst) -> float:
        players[0].start.options(num_returns=0).remote(burst)
        seconds: float = score.get(timeout=LIMIT)
        return seconds

    return play


def measure() -> dict[str, dict[str, list[float]]]:
    """Return seconds per hop of each burst, by size and messages in flight, then "bare" and "ours"."""
    engine = Ray(spares=0)
    try:
        plays = {"bare": bare(), "ours": ours(engine)}
        return {f"{size}, {num} in flight": bursts(plays, size, num) for size in SIZES for num in IN_FLIGHT}
    finally:
        engine.close()


def bursts(plays: dict[str, Callable[[Burst], float]], size: str, in_flight: int) -> dict[str, list[float]]:
    numbers, hops = SIZES[size]
    each = max(2, hops // in_flight // 2 * 2)
    seconds: dict[str, list[float]] = {arm: [] for arm in plays}
    for pair in range(PAIRS + 1):
        for arm, play in plays.items():
            took = play(Burst(numbers, each, in_flight))
            if pair:  # the first one warms up
                seconds[arm].append(took)
    middle = {arm: statistics.median(all_) * 1e3 for arm, all_ in seconds.items()}
    print(f"{size}, {in_flight} in flight, ms:", middle, file=sys.stderr, flush=True)
    return seconds
