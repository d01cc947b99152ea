"""Each of these was a bug once: of gates, sentinels, metrics, and pauses. Those of saves are in a file of their own."""

import copy
import math
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torchmetrics.classification import MulticlassAccuracy

import akkordeon as ak
from akkordeon.actor import Inbox
from akkordeon.conductor.requests import Pause, Resume
from akkordeon.engines import Threads
from akkordeon.messages.leases import Held
from akkordeon.messages.states import Position
from akkordeon.saving import read
from akkordeon.sentinel.metrics import Metrics
from tests.networks import data, gates, pairs, stepped, training
from tests.saving.saves import engine_of, run_until

sgd = partial(SGD, lr=0.1)


def versions(network: ak.Network) -> list[int]:
    return [gate.version for gate in network.status().gates]


# Pauses


def ask_for_pause(network: ak.Network, name: str, seconds: float = 60.0) -> Inbox:
    """Return where the answer will come."""
    inbox = engine_of(network).inbox(name)
    network.conductor.tell(Pause(inbox.ref, seconds))
    return inbox


def wait_until_pause_begins(network: ak.Network) -> None:
    """Another is refused as soon as the conductor knows of the first, be its batches through or not."""
    assert ask_for_pause(network, "refused").take(timeout=1.0).error is not None


def resume(network: ak.Network, inbox: Inbox) -> bool:
    stood_still: bool = network.conductor.ask(Resume(inbox.ref), timeout=1.0)
    return stood_still


def stands_still(network: ak.Network) -> bool:
    before = versions(network)
    engine_of(network).run(seconds=1.0)
    return versions(network) == before


def test_a_save_that_is_refused_does_not_end_the_pause_of_another(tmp_path: Path) -> None:
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(training(in_flight=2))
        run_until(network, 5)
        first = ask_for_pause(network, "first")
        first.take(timeout=1.0)
        with pytest.raises(ak.AkkordeonError, match="the network is being saved already; try again"):
            network.save(tmp_path)
        assert stands_still(network)
        assert resume(network, first)
        assert not stands_still(network)
    assert list(tmp_path.iterdir()) == []


def test_who_comes_back_too_late_does_not_end_the_pause_of_the_next() -> None:
    """Nor does it believe that all stood still: it would write gates of different versions."""
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(training(in_flight=2))
        run_until(network, 5)
        first = ask_for_pause(network, "first", seconds=0.0)
        first.take(timeout=1.0)
        engine_of(network).run(seconds=61.0)
        second = ask_for_pause(network, "second")
        second.take(timeout=1.0)
        assert resume(network, first) is False
        assert stands_still(network)
        assert resume(network, second) is True


def test_of_threads_that_save_at_once_one_succeeds_and_the_others_are_told(tmp_path: Path) -> None:
    results: list[Path | ak.AkkordeonError] = []
    together = threading.Barrier(4)

    def save() -> None:
        together.wait(timeout=30)
        try:
            results.append(network.save(tmp_path))
        except ak.AkkordeonError as error:
            results.append(error)

    with ak.launch(gates(), engine=Threads(2)) as network:
        network.attach(training(in_flight=2))
        for _ in range(5):
            results.clear()
            savers = [threading.Thread(target=save, daemon=True) for _ in range(4)]
            for saver in savers:
                saver.start()
            for saver in savers:
                saver.join(timeout=30)
            assert len(results) == 4
            refused = [result for result in results if isinstance(result, ak.AkkordeonError)]
            assert len(refused) < 4
            assert all("is being saved already" in str(error) for error in refused)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Where training a and b can be taken up again."""
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(training("a"))
        network.attach(training("b"))
        run_until(network, 6, "b")
        network.save(tmp_path)
    return tmp_path


def place_of_b(positions: Mapping[str, Position]) -> tuple[int, int]:
    return positions["b"].epoch, positions["b"].index


@pytest.mark.parametrize("seed", range(5))  # in the order of 3, b tells where it stands after a does
def test_training_that_joins_while_a_pause_begins_keeps_its_saved_place(seed: int, saved: Path) -> None:
    with ak.launch(gates(), engine=stepped(seed), resume=saved) as network:
        network.attach(training("a"))
        run_until(network, 4, "a")
        saver = ask_for_pause(network, "saver")
        wait_until_pause_begins(network)
        with pytest.raises(ak.NoAnswer):
            saver.take(timeout=0.0)  # a batch of a is in flight
        network.attach(training("b"))
        assert place_of_b(saver.take(timeout=1.0).positions) == place_of_b(read(saved).positions)


def exits(output: Tensor, target: Tensor) -> Tensor:
    raise SystemExit(3)


def test_training_that_is_ended_by_an_exit_keeps_its_saved_place(saved: Path) -> None:
    before = read(saved).positions
    with ak.launch(gates(), engine=stepped(), resume=saved) as network:
        network.attach(ak.TrainingSentinel("b", data(), exits))
        with pytest.raises(ak.ActorFailed, match=r"sentinel b failed: SystemExit\(3\)"):
            list(network.watch())
        network.save(saved)
    assert place_of_b(read(saved).positions) == place_of_b(before)


@pytest.mark.parametrize("seed", range(5))
def test_news_of_an_earlier_pause_does_not_count_for_the_next(seed: int) -> None:
    engine = stepped(seed)
    with ak.launch(gates(), engine=engine) as network:
        network.attach(training(in_flight=8))
        run_until(network, 8)
        first = ask_for_pause(network, "first")
        first.take(timeout=1.0)
        assert resume(network, first)
        run_until(network, 24)
        second = ask_for_pause(network, "second")
        wait_until_pause_begins(network)
        with pytest.raises(ak.NoAnswer):
            second.take(timeout=0.0)  # batches are in flight
        network.conductor.tell(
            Held(engine.find("sentinel train"), pause=1, position=None)
        )  # overtaken by all the above
        second.take(timeout=1.0)
        assert stands_still(network)


# Gates


def test_two_weights_of_one_name_in_the_whole_network_are_refused() -> None:
    same = [ak.Gate("a", nn.Linear(4, 4), sgd, prefix=""), ak.Gate("b", nn.Linear(4, 4), sgd, prefix="")]
    with pytest.raises(ak.WiringError, match="gates 'a' and 'b' both have a weight that is 'weight' in the whole"):
        ak.launch(same, engine=stepped())


def test_a_gate_named_as_a_part_of_another_is_refused_where_their_weights_would_be_one() -> None:
    inner = nn.Sequential()
    inner.add_module("b", nn.Linear(4, 4))
    same = [ak.Gate("a", inner, sgd), ak.Gate("a.b", nn.Linear(4, 4), sgd)]
    with pytest.raises(ak.WiringError, match=r"gates 'a' and 'a\.b' both have a weight that is 'a\.b\.weight'"):
        ak.launch(same, engine=stepped())


def test_two_gates_whose_names_differ_by_a_dot_are_refused() -> None:
    """The model taken out would hold only one of them."""
    alike = [ak.Gate("a.b", nn.Linear(4, 4), sgd), ak.Gate("a_b", nn.Linear(4, 4), sgd)]
    with pytest.raises(ak.WiringError, match=r"a gate is named 'a\.b', and another one too with dots for underscores"):
        ak.launch(alike, engine=stepped())


@pytest.mark.parametrize("name", ["append", "type", "training"])
def test_a_gate_named_as_an_attribute_of_a_sequential_is_refused(name: str) -> None:
    """No model could be taken out."""
    with pytest.raises(ak.WiringError, match=f"a gate cannot be named '{name}', which means something else"):
        ak.launch([ak.Gate(name, nn.Linear(4, 4), sgd)], engine=stepped())


class Sometimes(nn.Module):
    """Uses its weights for every other batch only."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.inner(x) if self.count % 2 else x


def test_a_batch_without_a_gradient_counts_in_an_accumulation_as_in_a_plain_loop() -> None:
    stem, head = Sometimes(), nn.Linear(4, 3)
    plain = copy.deepcopy(nn.Sequential(stem, head))
    described = [ak.Gate("stem", stem, sgd, accumulate=2), ak.Gate("head", head, sgd, accumulate=2)]
    with ak.launch(described, engine=stepped()) as network:
        network.attach(training(epochs=1))
        list(network.watch())
        assert versions(network) == [2, 2]
        trained = network.model()
    optimizer = sgd(plain.parameters())
    for number, (x, target) in enumerate(pairs(), 1):
        (cross_entropy(plain(x), target) / 2).backward()  # type: ignore[no-untyped-call]
        if number % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
    for weights, expected in zip(trained.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weights, expected)


# Sentinels and metrics


def test_a_name_is_free_again_at_once_when_its_sentinel_was_ended_by_an_exit() -> None:
    """Its provider, which has a thread of its own, may end a little later."""
    with ak.launch(gates(), engine=Threads(2)) as network:
        for _ in range(20):
            network.attach(ak.TrainingSentinel("train", data(), exits, epochs=1))
            with pytest.raises(ak.ActorFailed, match=r"sentinel train failed: SystemExit\(3\)"):
                list(network.watch())
        network.attach(training(epochs=1))
        assert len(list(network.watch())) == 1


def test_gauges_take_no_batch_in_that_is_skipped() -> None:
    batches = pairs()
    batches[1] = (torch.full((5, 4), math.nan), batches[1][1])
    with ak.launch(gates(), engine=stepped()) as network:
        described = ak.TrainingSentinel("train", lambda: batches, cross_entropy, {"p": ak.Perplexity()}, epochs=1)
        network.attach(described)
        (report,) = network.watch()
    assert report.samples == 15
    assert report.metrics["p"] == pytest.approx(math.exp(report.loss), rel=1e-4)


def test_a_test_without_targets_reads_no_gauge_that_saw_nothing() -> None:
    """Those of torchmetrics would warn."""
    metrics: Metrics = {"theirs": MulticlassAccuracy(3), "ours": ak.accuracy}
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(ak.TestSentinel("test", lambda: [x for x, _ in pairs()], metrics=metrics))
        (report,) = network.watch()
    assert math.isnan(report.metrics["theirs"])
    assert math.isnan(report.metrics["ours"])
