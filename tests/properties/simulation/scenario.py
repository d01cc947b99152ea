"""What happens in a simulated network, drawn from a seed: gates, sentinels, what goes wrong, who comes and goes."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from akkordeon.conductor.supervision import Supervision
from akkordeon.engines import Delays, Faults, exponential, lognormal, uniform
from akkordeon.engines.simulation.delays import Delay
from akkordeon.sentinel.description import Sentinel, TrainingSentinel, ValidationSentinel
from tests.properties.simulation.stub import Batch, Loader, Token, Trouble

Flavour = Literal[
    "mixed",
    "duplicates",
    "partitions",
    "reordering",
    "churn",
    "conductor",
    "wide",
    "slow",
    "numbers",
    "poison",
    "storm",
    "sleep",
    "patient",
    "stuck",
]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
"""Kinds of misfortune."""

SLOW_LIMIT = 30.0
"""The time limit where a network is slow, and nothing goes wrong."""

HANG = 32.0
"""Virtual seconds for which a computation hangs: longer than any time limit where one does."""

CUT = 120.0
"""Virtual second until which a link is cut: longer than anybody waits."""

CALM = 14.0
"""Virtual seconds after which nothing goes wrong any more."""


@dataclass(frozen=True)
class Act:
    """Something that the outside does.

    Args:
        at: virtual second.
        what: "attach" a sentinel, "detach" one, "widen" its window, "save", "kill" the conductor, or let it "sleep".
        sentinel: which, for the first three.
        window: how many batches it may have in flight from now on.
        seconds: how long the conductor sleeps.
    """

    at: float
    what: Literal["attach", "detach", "widen", "save", "kill", "sleep"]
    sentinel: Sentinel | None = None
    window: int = 1
    seconds: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """A network and its fate.

    Args:
        seed: of the engine.
        gates: how many.
        delays: how long things take.
        faults: what goes wrong with actors and messages.
        trouble: what goes wrong with batches.
        acts: in the order of time.
        supervision: see there.
        max_staleness: see `launch`.
        capacity: see `launch`.
        dies_at: which writings into the vault the conductor dies at, and whether after it.
        workers: that all actors share; None for a processor each.
    """

    seed: int
    gates: int
    delays: Delays
    faults: Faults
    trouble: Trouble
    acts: tuple[Act, ...]
    supervision: Supervision
    max_staleness: int | None = None
    capacity: int = 1024
    dies_at: tuple[tuple[int, bool], ...] = ()
    workers: int | None = None
    flavour: str = field(default="mixed")


@dataclass(frozen=True)
class _Loss:
    """The loss of a sentinel: one, or not finite."""

    lossless: frozenset[Batch]

    def __call__(self, output: Token, target: object) -> float:
        key, seq, _, finite = output
        return 1.0 if finite and (key, seq) not in self.lossless else float("nan")


def draw(seed: int, flavour: Flavour = "mixed") -> Scenario:
    """Return the scenario of a seed."""
    drawn = random.Random(f"{flavour} {seed}")
    if flavour == "patient":
        return _patient(drawn, seed)
    gates = drawn.randint(3, 5)
    trouble = _trouble(drawn, flavour, gates)
    acts = sorted(_acts(drawn, flavour, trouble), key=lambda act: act.at)
    supervision = Supervision(lease=6.0, copy_every=drawn.choice((1, 3, 8, 20)), stall=10.0)
    dies_at: tuple[tuple[int, bool], ...] = ()
    if flavour == "conductor":
        dies_at = ((drawn.randint(2, 8), drawn.random() < 0.5),)
    return Scenario(
        seed=seed,
        gates=gates,
        delays=_delays(drawn, flavour),
        faults=_faults(drawn, flavour),
        trouble=trouble,
        acts=tuple(acts),
        supervision=supervision,
        max_staleness=drawn.choice((None, None, None, 1, 4, 8)),
        capacity=drawn.choice((1024, 1024, 10)),
        dies_at=dies_at,
        flavour=flavour,
    )


def calm(seed: int, *, sentinels: int = 1, **changes: Any) -> Scenario:
    """Return a scenario in which nothing goes wrong: some sentinels that train, and nobody comes or goes."""
    drawn = random.Random(f"calm {seed}")
    loss = _Loss(frozenset())
    acts = [Act(0.0, "attach", _training(drawn, "mixed", key, f"t{key}", loss)) for key in range(1, sentinels + 1)]
    scenario = Scenario(
        seed=seed,
        gates=drawn.randint(3, 5),
        delays=_delays(drawn, "mixed"),
        faults=Faults(until=1.0),
        trouble=Trouble(),
        acts=tuple(acts),
        supervision=Supervision(lease=6.0),
        flavour="calm",
    )
    return replace(scenario, **changes)


def _patient(drawn: random.Random, seed: int) -> Scenario:
    """Return a network that is slow, and in which nothing goes wrong: a round trip takes up to 0.9 of the time limit.

    Windows reach 32, and grow at once. Some of the engines say that messages may be lost, and lose none.
    """
    gates, judge = drawn.randint(1, 4), _Loss(frozenset())
    shares = [drawn.random() ** 3 for _ in range(2 * gates + 1)]  # of forwards, of backwards, and of all links
    # Machines share no workers, and what is lost between them is learned soon. Threads share workers, and lose nothing.
    lossy, workers, lease = drawn.choice(((True, None, 15.0), (False, 2, 30.0), (False, None, 6.0)))
    shares[-1] *= drawn.choice((1.0, 100.0))
    trip = drawn.uniform(0.05, 0.9) * SLOW_LIMIT / sum(shares)
    most = {
        (f"g{gate + 1}", kind): trip * shares[2 * gate + at]
        for gate in range(gates)
        for at, kind in enumerate(("Forward", "Backward"))
    }

    def work(random: random.Random, actor: str, kind: str) -> float:
        return most.get((actor.rsplit(" ", 1)[-1], kind), 0.0) * random.uniform(0.7, 1.0)

    acts = []
    for key in range(1, drawn.randint(1, 2) + 1):
        first, then = drawn.choice((1, 2, 4, 8)), drawn.choice((8, 16, 32))
        data = Loader(key, drawn.randint(10, 12 + first))
        sentinel = TrainingSentinel(f"t{key}", data, judge, in_flight=first, epochs=2, time_limit=SLOW_LIMIT)  # type: ignore[arg-type]
        acts += [Act(0.0, "attach", sentinel), Act(drawn.uniform(0.0, 5 * SLOW_LIMIT), "widen", sentinel, then)]
    hop = trip * shares[-1] / (2 * gates + 2)
    link: Delay = uniform(0.0, min(hop, 1.0))
    if workers is None and not lossy:
        link = _heavy_now_and_then(hop)
    return Scenario(
        seed=seed,
        gates=gates,
        delays=Delays(link=link, work=work),
        faults=Faults(loss=1e-12 if lossy else 0.0, until=CALM),
        trouble=Trouble(),
        acts=tuple(sorted(acts, key=lambda act: act.at)),
        supervision=Supervision(lease=lease),
        workers=workers,
        flavour="patient",
    )


def _heavy_now_and_then(seconds: float) -> Delay:
    """Return how long messages are on their way if some of those that gates and sentinels exchange are heavy."""

    def link(random: random.Random, sender: str, receiver: str) -> float:
        heavy = "conductor" not in (sender, receiver) and random.random() < 0.2
        return seconds if heavy else random.uniform(0.0, 0.01)

    return link


def _slow_at(gate: str, slow: Delay, work: Delay) -> Delay:
    """Return how long computations take if they take longer at one gate."""
    return lambda random, actor, kind: (slow if actor.endswith(f" {gate}") else work)(random, actor, kind)


def _hangs_once(at: int, seconds: float, work: Delay) -> Delay:
    """Return how long computations take if one of them takes that long."""
    number = itertools.count()
    return lambda random, actor, kind: seconds if next(number) == at else work(random, actor, kind)


def _delays(drawn: random.Random, flavour: Flavour) -> Delays:
    link: Delay = exponential(drawn.choice((0.005, 0.02, 0.06)))
    if flavour not in ("mixed", "sleep", "stuck") and drawn.random() < 0.25:
        link = lognormal(0.05, 2.0)  # a few take seconds
    work: Delay = exponential(drawn.choice((0.005, 0.02, 0.06)))
    if flavour == "slow":  # one gate is, with many batches waiting there
        work = _slow_at(f"g{drawn.randint(1, 3)}", exponential(drawn.choice((0.2, 0.5))), work)
    if flavour == "stuck":
        work = _hangs_once(drawn.randint(50, 600), HANG, work)
    return Delays(link=link, work=work)


def _faults(drawn: random.Random, flavour: Flavour) -> Faults:
    share: Callable[[float, float], float] = drawn.uniform
    rates: dict[str, Any] = {"loss": share(0.0, 0.03), "duplicates": share(0.0, 0.02)}
    rates |= {"crashes": share(0.0, 0.25), "pauses": share(0.0, 0.15), "partitions": share(0.0, 0.1)}
    rates |= {"jumps": share(0.0, 0.02), "silent": drawn.choice((0.0, 0.5))}
    match flavour:
        case "duplicates":
            rates |= {"duplicates": 0.2, "loss": 0.05}
        case "partitions":
            rates |= {"partitions": 0.3, "pauses": 0.3, "silent": 0.5}
        case "reordering":
            rates |= {"reordering": 0.1, "loss": 0.05, "duplicates": 0.1}
        case "slow":
            rates |= {"slow": 0.3}
        case "poison" | "numbers":
            rates |= {"crashes": 0.0, "partitions": 0.0, "pauses": 0.0, "jumps": 0.0}
        case "storm":
            return Faults(crashes=2.0, victims=_is_first_gate, until=CALM)
        case "stuck":
            cut = drawn.random() < 0.5
            return Faults(loss=1.0, lossy=_cut_after(drawn.randint(20, 200)), until=CUT) if cut else Faults(until=CALM)
        case "sleep":
            return Faults(loss=0.004, duplicates=0.02, until=CALM)
    if drawn.random() < 0.25:
        rates["reordering"] = rates.get("reordering", 0.05)
    return Faults(**rates, jump=3.0, seconds=(0.1, 12.0), until=CALM)


def _cut_after(amount: int) -> Callable[[str, str], bool]:
    """Return whether a message is lost where nothing gets from the first gate to the next after so many messages."""
    number = itertools.count()

    def is_lost(sender: str, receiver: str) -> bool:
        return sender.endswith(" g1") and receiver.endswith(" g2") and next(number) >= amount

    return is_lost


def _is_first_gate(name: str) -> bool:
    return name.startswith("gate") and name.endswith(" g1")


def _trouble(drawn: random.Random, flavour: Flavour, gates: int) -> Trouble:
    def some(amount: float) -> frozenset[tuple[Batch, str]]:
        times = int(amount) + (drawn.random() < amount % 1)
        return frozenset(
            ((drawn.randint(1, 2), drawn.randint(0, 19)), f"g{drawn.randint(1, gates)}") for _ in range(times)
        )

    match flavour:
        case "poison":
            one = some(1.0)
            return Trouble(poison=one) if drawn.random() < 0.5 else Trouble(torn=one, hiccups=some(0.7))
        case "numbers":
            lossless = frozenset(batch for batch, _ in some(3.0))
            return Trouble(non_finite=some(8.0), overflows=some(0.3), lossless=lossless)
        case "mixed":
            return Trouble(hiccups=some(0.5), refused=some(0.1), refused_back=some(0.1), non_finite=some(1.0))
    return Trouble()


def _acts(drawn: random.Random, flavour: Flavour, trouble: Trouble) -> list[Act]:
    loss = _Loss(trouble.lossless)
    sentinels = drawn.randint(2, 3) if flavour != "wide" else 5
    acts = []
    for key in range(1, sentinels + 1):
        begins = drawn.uniform(0.0, 3.0) if key > 1 else 0.0
        acts.append(Act(begins, "attach", _training(drawn, flavour, key, f"t{key}", loss)))
        if drawn.random() < (0.7 if flavour == "churn" else 0.1):
            acts.append(Act(begins + drawn.uniform(1.0, 8.0), "detach", acts[-1].sentinel))
            again = _training(drawn, flavour, key + 10, f"t{key}", loss)
            acts.append(Act(begins + drawn.uniform(8.0, 14.0), "attach", again))
        if drawn.random() < (0.7 if flavour == "slow" else 0.2):
            acts.append(Act(begins + drawn.uniform(0.5, 6.0), "widen", acts[-1].sentinel, drawn.choice((16, 32))))
    if drawn.random() < 0.3:
        loader = Loader(21, 5)
        validation = ValidationSentinel("v", loader, loss, every=2.0, in_flight=2, time_limit=15.0)  # type: ignore[arg-type]
        acts.append(Act(0.5, "attach", validation))
        acts.append(Act(CALM + 1.0, "detach", validation))
    saves = sum(drawn.random() < (0.8 if flavour == "reordering" else 0.1) for _ in range(2))
    acts += [Act(drawn.uniform(1.0, 10.0), "save") for _ in range(saves)]
    if flavour == "sleep":
        acts += [Act(drawn.uniform(1.0, 6.0), "sleep", seconds=drawn.uniform(3.0, 20.0))]
    if flavour == "conductor" or drawn.random() < 0.1:
        acts.append(Act(drawn.uniform(1.0, 12.0), "kill"))
    return acts


def _training(drawn: random.Random, flavour: Flavour, key: int, name: str, loss: _Loss) -> TrainingSentinel:
    window = drawn.choice((1, 2, 3, 6)) if flavour != "wide" else drawn.randint(8, 16)
    data, limit = Loader(key, drawn.randint(10, 14)), 60.0 if flavour == "sleep" else 15.0
    return TrainingSentinel(name, data, loss, in_flight=window, epochs=2, time_limit=limit)  # type: ignore[arg-type]
