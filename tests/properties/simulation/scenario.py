"""What happens in a simulated network, drawn from a seed: gates, sentinels, what goes wrong, who comes and goes."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from akkordeon.conductor.supervision import Supervision
from akkordeon.engines import Delays, Faults, exponential, lognormal
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
]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
"""Kinds of misfortune."""

CALM = 14.0
"""Virtual seconds after which nothing goes wrong any more."""


@dataclass(frozen=True)
class Act:
    """Something that the outside does.

    Args:
        at: virtual second.
        what: "attach" a sentinel, "detach" one, "save", "kill" the conductor, or let it "sleep".
        sentinel: which, for the first two.
        seconds: how long the conductor sleeps.
    """

    at: float
    what: Literal["attach", "detach", "save", "kill", "sleep"]
    sentinel: Sentinel | None = None
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


def _delays(drawn: random.Random, flavour: Flavour) -> Delays:
    link: Delay = exponential(drawn.choice((0.005, 0.02, 0.06)))
    if flavour not in ("mixed", "sleep") and drawn.random() < 0.25:
        link = lognormal(0.05, 2.0)  # a few take seconds
    work: Delay = exponential(drawn.choice((0.005, 0.02, 0.06)))
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
        case "sleep":
            return Faults(loss=0.004, duplicates=0.02, until=CALM)
    if drawn.random() < 0.25:
        rates["reordering"] = rates.get("reordering", 0.05)
    return Faults(**rates, jump=3.0, seconds=(0.1, 12.0), until=CALM)


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
