"""Saves while training goes on: gates stand still for a moment, then all goes on, whatever happens meanwhile."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from akkordeon import ActorFailed, AkkordeonError, Gate, Network, NoAnswer, launch
from akkordeon.actor import Engine
from akkordeon.conductor.requests import Pause, Paused, Resume
from akkordeon.engines import Threads
from akkordeon.saving import read
from tests.network.patience import wait_until
from tests.networks import stepped, training, validation
from tests.saving.saves import can_be_resumed, done, engine_of, normed, run_until


def versions(network: Network) -> list[int]:
    return [gate.version for gate in network.status().gates]


def wait_for(network: Network, batches: int, sentinel: str = "train") -> None:
    """Wait until so many batches came back, on any engine."""
    wait_until(network, lambda: done(network, sentinel) >= batches)


def goes_on(network: Network, sentinel: str = "train") -> bool:
    wait_for(network, done(network, sentinel) + 5, sentinel)
    return True


def assert_consistent(folder: Path, sentinels: int = 1) -> None:
    """All gates have learned from the same batches, and these are the ones before the places of the sentinels."""
    saved = read(folder)
    trained = sum(4 * (each.epoch - 1) + each.index for each in saved.positions.values())
    assert len(saved.positions) == sentinels
    assert [gate.version for gate in saved.gates] == [trained] * 3


def test_saves_while_several_batches_are_in_flight_are_consistent(engine: Engine, tmp_path: Path) -> None:
    with launch(normed(computations=2), engine=engine) as network:
        network.attach(training("one", in_flight=4))
        network.attach(training("two", in_flight=3))
        for number in range(1, 9):
            wait_for(network, 7 * number, "one")
            network.save(tmp_path)
            assert_consistent(tmp_path, sentinels=2)
        assert goes_on(network, "one")
        assert goes_on(network, "two")


def test_a_save_with_nobody_attached_has_no_positions(engine: Engine, tmp_path: Path) -> None:
    with launch(normed(), engine=engine) as network:
        network.save(tmp_path)
        saved = read(tmp_path)
        assert saved.positions == {}
        assert [gate.version for gate in saved.gates] == [0, 0, 0]
        network.attach(training(epochs=1))
        list(network.watch())
        network.save(tmp_path)
    assert_consistent(tmp_path)  # of those that have left, too


@pytest.mark.parametrize("seed", range(5))
def test_a_save_as_soon_as_training_joins_is_consistent(seed: int, tmp_path: Path) -> None:
    with launch(normed(), engine=stepped(seed)) as network:
        network.attach(training(epochs=1, in_flight=2))
        network.save(tmp_path)
        assert len(list(network.watch())) == 1
    assert_consistent(tmp_path, sentinels=len(read(tmp_path).positions))
    with launch(normed(), engine=stepped(), resume=tmp_path) as network:
        network.attach(training(epochs=1))
        (report,) = network.watch()
    assert report.samples == 20


def test_a_validation_runs_on_during_a_save_and_is_not_saved(tmp_path: Path) -> None:
    with launch(normed(), engine=stepped()) as network:
        network.attach(training(in_flight=2))
        network.attach(validation(every=0.05))
        run_until(network, 10)
        network.save(tmp_path)
        assert_consistent(tmp_path)
        inbox = engine_of(network).inbox("saver")
        network.conductor.tell(Pause(inbox.ref, 60.0))
        assert isinstance(inbox.take(timeout=1.0), Paused)
        before, measured = versions(network), done(network, "validation")
        engine_of(network).run(seconds=1.0)
        assert versions(network) == before  # no gate learns in a pause
        assert done(network, "validation") > measured
        assert network.conductor.ask(Resume(inbox.ref), timeout=1.0) is True
        assert goes_on(network)


def test_training_that_joins_in_a_pause_waits_for_its_end(tmp_path: Path) -> None:
    with launch(normed(), engine=stepped()) as network:
        network.attach(training("one"))
        run_until(network, 3, "one")
        inbox = engine_of(network).inbox("saver")
        network.conductor.tell(Pause(inbox.ref, 60.0))
        inbox.take(timeout=1.0)
        network.attach(training("two", epochs=2))
        engine_of(network).run(seconds=1.0)
        before = versions(network)
        assert done(network, "two") == 0
        network.conductor.ask(Resume(inbox.ref), timeout=1.0)
        assert sum(report.sentinel == "two" for report in network.watch()) == 2
        assert versions(network) > before


def test_training_that_leaves_in_a_pause_keeps_its_place(tmp_path: Path) -> None:
    with launch(normed(), engine=stepped()) as network:
        network.attach(training("one"))
        network.attach(training("two", in_flight=3))
        run_until(network, 5, "two")
        inbox = engine_of(network).inbox("saver")
        network.conductor.tell(Pause(inbox.ref, 60.0))
        network.detach("two")
        assert set(inbox.take(timeout=1.0).positions) == {"one", "two"}
        network.conductor.ask(Resume(inbox.ref), timeout=1.0)
        network.save(tmp_path)
    assert_consistent(tmp_path, sentinels=2)


def test_a_second_save_at_the_same_time_is_refused() -> None:
    with launch(normed(), engine=stepped()) as network:
        first, second = (engine_of(network).inbox(name) for name in ("first", "second"))
        network.conductor.tell(Pause(first.ref, 60.0))
        assert first.take(timeout=1.0).error is None
        network.conductor.tell(Pause(second.ref, 60.0))
        with pytest.raises(AkkordeonError, match="the network is being saved already; try again"):
            raise second.take(timeout=1.0).error


def test_a_pause_whose_saver_is_gone_is_over_after_a_while() -> None:
    with launch(normed(), engine=stepped()) as network:
        network.attach(training())
        run_until(network, 3)
        inbox = engine_of(network).inbox("saver")
        network.conductor.tell(Pause(inbox.ref, 60.0))
        inbox.take(timeout=1.0)
        before = versions(network)
        engine_of(network).run(seconds=119.0)
        assert versions(network) == before
        engine_of(network).run(seconds=2.0)
        assert versions(network) > before
        assert network.conductor.ask(Resume(inbox.ref), timeout=1.0) is False  # and who comes back late is told


class Slipping(SGD):
    def step(self, closure: Any = None) -> Any:
        raise OSError("the step slipped")


def test_a_network_that_has_failed_cannot_be_saved_and_nothing_is_written(tmp_path: Path) -> None:
    described = [Gate("body", nn.Linear(4, 3), partial(Slipping, lr=0.1))]
    with launch(described, engine=stepped()) as network:
        network.attach(training())
        with pytest.raises(ActorFailed):
            list(network.watch())
        with pytest.raises(ActorFailed, match="gate body has failed, and the network with it"):
            network.save(tmp_path / "run")
        with pytest.raises(ActorFailed):
            network.export(tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


class Slow(nn.Module):
    """Takes as long as it is told to."""

    free = threading.Event()
    stuck = threading.Event()

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not self.free.is_set():
            self.stuck.set()
        assert self.free.wait(timeout=30)
        y: Tensor = self.inner(x)
        return y


@pytest.fixture
def slow() -> Iterator[Network]:
    Slow.free.set()
    with launch([Gate("slow", Slow(), partial(SGD, lr=0.1))], engine=Threads(2)) as network:
        yield network
        Slow.free.set()


def test_a_save_waits_for_a_batch_no_longer_than_it_is_told_to(slow: Network, tmp_path: Path) -> None:
    slow.attach(training())
    wait_for(slow, 3)
    Slow.stuck.clear()
    Slow.free.clear()
    assert Slow.stuck.wait(timeout=30)  # a batch is in flight, and stays there
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"could not be saved: batches are still in flight after 0\.2 s"):
        slow.save(tmp_path, timeout=0.2)
    assert time.monotonic() - began < 10
    assert list(tmp_path.iterdir()) == []
    Slow.free.set()
    assert goes_on(slow)
    slow.save(tmp_path)
    (gate,) = read(tmp_path).gates
    position = read(tmp_path).positions["train"]
    assert gate.version == 4 * (position.epoch - 1) + position.index


def test_threads_that_save_one_after_the_other_all_succeed(tmp_path: Path) -> None:
    with launch(normed(), engine=Threads(2)) as network:
        network.attach(training(in_flight=2))
        turn, saved = threading.Lock(), []

        def save() -> None:
            with turn:
                saved.append(network.save(tmp_path))

        savers = [threading.Thread(target=save) for _ in range(5)]
        for saver in savers:
            saver.start()
        for saver in savers:
            saver.join(timeout=30)
        assert sorted(path.name for path in saved) == [f"v{n:06d}" for n in range(1, 6)]
        assert goes_on(network)
    assert_consistent(tmp_path)
    can_be_resumed(tmp_path)


def test_a_save_changes_nothing_about_training(tmp_path: Path) -> None:
    models = []
    for saves in (0, 5):
        torch.manual_seed(0)
        with launch(normed(), engine=stepped()) as network:
            network.attach(training(epochs=8))
            for number in range(saves):
                run_until(network, 3 * number + 1)
                network.save(tmp_path)
            reports = [(report.loss, report.metrics) for report in network.watch()]
            models.append((network.model().state_dict(), reports))
    (one, losses), (other, their_losses) = models
    assert losses == their_losses
    assert all(torch.equal(one[name], other[name]) for name in one)
