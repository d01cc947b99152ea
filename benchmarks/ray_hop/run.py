"""Compares a hop on the engine on Ray with the bare call of Ray with the same array.

A hop is one message, from the handler of one actor to that of the other, which sends on what it received. Both kinds of
players live on one cluster and take turns, one burst each, so that drift of the machine affects both.

Example:
  python -m benchmarks.ray_hop    # some minutes; writes results.json and table.md
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from akkordeon.actor import Actor, Context, Ref
from akkordeon.engines import Ray
from benchmarks.common.apart import paired_ratio
from benchmarks.common.claims import parser, table, write_results, write_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.ray_hop"


PAIRS = 7

SIZES = {"50 KB": (12_500, 400), "0.8 MB": (200_704, 200), "17 MB": (4_194_304, 32)}
"""Float32 numbers per message, and hops per burst; a burst takes about half a second."""

IN_FLIGHT = (1, 16)

LIMIT = 60.0
"""Seconds that a burst may take."""


@dataclass(frozen=True)
class Burst:
    """To a player: send messages to and fro.

    Args:
        numbers: per message.
        hops: of each message; an even number, so that they end where they began.
        in_flight: number of messages.
    """

    numbers: int
    hops: int
    in_flight: int


@dataclass(frozen=True)
class Token:
    """A message in flight, with the hops that are left and its load."""

    left: int
    load: torch.Tensor


class Rally:
    """Counts the messages of a burst that have returned."""

    def begin(self, burst: Burst) -> None:
        self._out, self._hops = burst.in_flight, burst.in_flight * burst.hops
        self._began = time.perf_counter()

    def home(self) -> float | None:
        """Count a message; with the last one, return seconds per hop."""
        self._out -= 1
        return None if self._out else (time.perf_counter() - self._began) / self._hops


class Player(Actor):
    """One of two actors; the first message is the other one."""

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
    """One of two bare actors of Ray."""

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
        load = load.copy()  # otherwise Ray keeps it as long as it is referenced
        if left:
            self._deliver.remote(left - 1, load)
        elif (seconds := self._rally.home()) is not None:
            self._score.put(seconds)


def ours(engine: Ray) -> Callable[[Burst], float]:
    """Return a function that runs a burst on the engine."""
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
    """Return a function that runs a burst on bare actors of Ray; this process must be connected to Ray."""
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
    """Return seconds per hop of each burst, by size and messages in flight, then by "bare" and "ours"."""
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
            if pair:  # the first one is a warm-up
                seconds[arm].append(took)
    middle = {arm: statistics.median(all_) * 1e3 for arm, all_ in seconds.items()}
    print(f"{size}, {in_flight} in flight, ms:", middle, file=sys.stderr, flush=True)
    return seconds


def lines(results: dict[str, dict[str, list[float]]]) -> list[str]:
    """Return the lines of the table."""
    rows = []
    for case, each in results.items():
        bare_ms, ours_ms = (f"{statistics.median(each[arm]) * 1e3:.2f}" for arm in ("bare", "ours"))
        rows.append((case, bare_ms, ours_ms, paired_ratio(each["ours"], each["bare"]), "<= 1.2"))
    head = ("a hop with float32 numbers", "bare call, ms", "ours, ms", "ratio (pairs)", "target")
    return table(head, rows).splitlines()


def main(arguments: Sequence[str] | None = None) -> None:
    parser(PACKAGE, __doc__).parse_args(arguments)
    results = measure()
    write_results(HERE, results)
    write_table(HERE, lines(results))
