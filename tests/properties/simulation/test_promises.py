"""Promises that need a scenario of their own: bounds, staleness, writing points, determinism, and plain numbers."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from akkordeon import Gate, TrainingSentinel, launch
from akkordeon.engines import Delays, Faults, Stepped, by_actor, exponential
from akkordeon.network.network import Network
from tests.properties.simulation.run import Run, simulate
from tests.properties.simulation.scenario import Act, Scenario, calm
from tests.properties.simulation.stub import Loader

Pair = tuple[Tensor, Tensor]


def training(key: int, window: int, batches: int, **settings: float) -> Act:
    loss = calm(0).acts[0].sentinel
    assert loss is not None
    assert loss.loss is not None
    sentinel = TrainingSentinel(f"t{key}", Loader(key, batches), loss.loss, in_flight=window, epochs=1, **settings)  # type: ignore[arg-type]
    return Act(0.0, "attach", sentinel)


def test_with_one_sentinel_no_gradient_is_later_than_its_window_allows() -> None:  # C6
    for window in (1, 2, 6):
        for seed in range(5):
            outcome = simulate(calm(seed, acts=(training(1, window, 30),)))
            assert not outcome.violations
            assert outcome.counts["staleness"] <= window - 1


def test_a_slow_gate_is_not_taken_for_dead_and_nothing_piles_up() -> None:  # D7
    """Eight sentinels with windows of up to 64, and a gate that takes ten times as long as the others."""
    work = by_actor({"gate g2": exponential(0.02)}, exponential(0.002))
    acts = tuple(training(key, 8 * key, 40, time_limit=600.0) for key in range(1, 9))
    outcome = simulate(calm(1, gates=3, acts=acts, delays=Delays(work=work)))
    total = sum(8 * key for key in range(1, 9))
    assert not outcome.violations, outcome.line()
    assert outcome.counts["replacements"] == 0
    assert 64 < outcome.counts["table"] <= total
    assert outcome.counts["mailbox"] <= total


@pytest.mark.parametrize(("bound", "skipped"), [(None, False), (2, True)])
def test_gradients_of_a_slow_sentinel_are_skipped_beyond_the_bound(bound: int | None, skipped: bool) -> None:  # D8
    """It thinks long about each output, while another one trains on: what it sends back is late."""
    delays = Delays(turn=lambda _, *what: 0.5 if what == ("sentinel t1", "Forward") else 0.0)
    acts = (training(1, 1, 10, time_limit=600.0), training(2, 2, 800, time_limit=600.0))
    outcome = simulate(calm(2, gates=3, acts=acts, delays=delays, max_staleness=bound))
    assert not outcome.violations, outcome.line()
    assert outcome.counts["staleness"] <= (12 if bound is None else bound)
    assert bool(outcome.counts["too_stale"]) or not skipped


def points(scenario: Scenario) -> int:
    """Return how often the conductor writes."""
    run = Run(scenario)
    assert not run.play().violations
    return run.state.writes


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_conductor_may_die_wherever_it_writes(after: bool) -> None:  # D6
    """Another one takes over from what was written."""
    faults = Faults(crashes=0.3, silent=0.5, until=8.0, victims=lambda name: name.startswith("gate"))
    acts = (*(training(key, 2, 20) for key in (1, 2)), Act(3.0, "detach", training(2, 2, 20).sentinel))
    for seed in range(4):
        scenario = calm(seed, gates=3, faults=faults, acts=acts, delays=Delays(link=0.03, work=0.03))
        for point in range(1, points(scenario) + 1):
            outcome = simulate(calm(**{**vars(scenario), "dies_at": ((point, after),)}))
            assert not outcome.violations, outcome.line()
            assert outcome.faults["conductor dies"] == 1, outcome.line()


ROOT = Path(__file__).parents[3]

DIGESTS = """
import json, sys
from tests.properties.simulation.run import simulate
from tests.properties.simulation.scenario import FLAVOURS, draw
seeds = range(*map(int, sys.argv[1:]))
print(json.dumps([simulate(draw(seed, FLAVOURS[seed % len(FLAVOURS)])).digest for seed in seeds]))
"""


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_a_seed_gives_the_same_events_in_any_process(first: int) -> None:  # D14
    seeds = 50
    digests = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", DIGESTS, str(first), str(first + seeds)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests.append(json.loads(done.stdout))
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == seeds


# With real tensors


def modules() -> list[nn.Module]:
    torch.manual_seed(3)
    return [nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Linear(6, 5), nn.Linear(5, 3)]


def pairs(amount: int = 20) -> list[Pair]:
    generator = torch.Generator().manual_seed(5)
    inputs = [torch.randn(6, 4, generator=generator) for _ in range(amount)]
    return [(x, x[:, :3].argmax(dim=1)) for x in inputs]


def trained(engine: Stepped, data: Sequence[Pair], **settings: int) -> tuple[Network, nn.Module]:
    gates = [Gate(f"g{number}", module, partial(SGD, lr=0.1, momentum=0.9)) for number, module in enumerate(modules())]
    network = launch(gates, engine=engine)
    network.attach(TrainingSentinel("t", lambda: list(data), nn.functional.cross_entropy, epochs=2, **settings))  # type: ignore[arg-type]
    for _ in network.watch():
        pass
    return network, network.model()


def test_one_batch_at_a_time_trains_as_a_plain_loop_does_bit_for_bit() -> None:  # D15
    """Also on a network that brings messages twice."""
    plain = nn.Sequential(*modules())
    optimizer = SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        for x, target in pairs():
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(x), target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for faults in (Faults(), Faults(duplicates=0.2)):
        engine = Stepped(7, delays=Delays(), faults=faults)
        network, model = trained(engine, pairs())
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        assert bool(faults.duplicates) == bool(engine.injected["duplicate"])
        network.close()


def test_what_is_not_finite_reaches_no_weights() -> None:  # D9
    data = pairs()
    for number in (3, 4, 11):
        data[number][0][0, 0] = float("nan")
    engine = Stepped(7, delays=Delays(), faults=Faults(duplicates=0.1))
    network, model = trained(engine, data, in_flight=3)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert engine.injected["duplicate"]
    network.close()
