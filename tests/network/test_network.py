"""A running network, on the stepped engine: who joins, who leaves, what is reported, what is left behind."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import SGD, Adam

from akkordeon import (
    ActorNotFound,
    AkkordeonError,
    BatchRefused,
    Gate,
    Network,
    NoAnswer,
    Report,
    SentinelFailed,
    TestSentinel,
    TrainingSentinel,
    WiringError,
    launch,
)
from akkordeon.engines import Stepped
from tests.networks import Pair, data, examining, gates, pairs, stepped, training, validation

SIZES = (5, 5, 3)


@pytest.fixture
def network() -> Iterator[Network]:
    with launch(gates(), engine=stepped()) as network:
        yield network


def figures(report: Report) -> tuple[int, float, float]:
    return report.samples, report.loss, report.metrics["accuracy"]


def labels(reports: list[Report]) -> list[tuple[str, int]]:
    return [(report.sentinel, report.epoch) for report in reports]


def is_empty(network: Network) -> bool:
    return [gate.open for gate in network.status().gates] == [0, 0, 0]


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("broken by the test")


# Epochs, seconds, until


def test_a_training_of_epochs_reports_each_and_ends(network: Network) -> None:
    network.attach(training(epochs=3, in_flight=2))
    reports = list(network.watch())
    assert labels(reports) == [("train", 1), ("train", 2), ("train", 3)]
    assert all(report.samples == 20 and report.complete and report.kind == "train" for report in reports)
    assert [gate.version for gate in network.status().gates] == [12, 12, 12]
    assert network.status().sentinels == ()


def test_training_makes_the_loss_smaller(network: Network) -> None:
    network.attach(training(epochs=60))
    reports = list(network.watch())
    assert reports[-1].loss < 0.6 * reports[0].loss
    assert reports[-1].metrics["accuracy"] > reports[0].metrics["accuracy"]


def test_a_training_of_seconds_ends_with_an_incomplete_epoch(network: Network) -> None:
    network.attach(training(sizes=[5] * 50, seconds=0.5, in_flight=2))
    reports = list(network.watch())
    assert [report.complete for report in reports] == [True] * (len(reports) - 1) + [False]
    assert 0 < reports[-1].samples < 250
    assert sum(report.samples for report in reports) == 5 * network.status().gates[0].version
    assert 0.4 < sum(report.seconds for report in reports) < 0.7
    assert is_empty(network)


def test_a_training_until_something_holds_ends_with_the_first_report_for_which_it_does(network: Network) -> None:
    seen: list[int] = []

    def until(report: Report) -> bool:
        seen.append(report.epoch)
        return report.epoch == 4

    network.attach(training(until=until))
    reports = [report for report in network.watch() if report.complete]
    assert [report.epoch for report in reports] == seen == [1, 2, 3, 4]


def test_the_first_of_several_ends_counts(network: Network) -> None:
    network.attach(training(epochs=100, seconds=1000.0, until=lambda report: report.epoch == 2))
    assert [report.epoch for report in network.watch() if report.complete] == [1, 2]


def test_a_validation_every_so_often_begins_when_due(network: Network) -> None:
    network.attach(validation(every=2.0, epochs=3))
    reports = list(network.watch())
    assert labels(reports) == [("validation", 1), ("validation", 2), ("validation", 3)]
    assert all(report.samples == 43 and not report.skipped for report in reports)
    assert len({figures(report) for report in reports}) == 1


@pytest.mark.parametrize("batches", [1, 2, 3, 7, 8, 9])
def test_a_validation_of_few_batches_begins_when_due_too(network: Network, batches: int) -> None:
    network.attach(validation(sizes=[5] * batches, every=2.0, epochs=4))
    reports = [next(network.watch()) for _ in range(4)]
    assert [(report.epoch, report.samples, report.skipped) for report in reports] == [
        (epoch, 5 * batches, {}) for epoch in range(1, 5)
    ]


def test_a_validation_that_comes_due_too_early_is_skipped_and_counted(network: Network) -> None:
    network.attach(validation(every=0.05, epochs=3, sizes=[5] * 20))
    reports = list(network.watch())
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert all(report.skipped["due too early"] >= 1 for report in reports)
    assert all(report.samples == 100 for report in reports)
    assert "skipped" in str(reports[0])


# Figures


def test_a_loss_is_the_mean_over_samples_though_the_last_batch_is_smaller(network: Network) -> None:
    network.attach(validation(sizes=(5, 5, 1)))
    (report,) = network.watch()
    batches = pairs((5, 5, 1), 7)
    x, target = (torch.cat(parts) for parts in zip(*batches, strict=True))
    output = network.model().eval()(x)
    per_batch = sum(cross_entropy(network.model()(part), classes).item() for part, classes in batches) / 3
    assert report.samples == 11
    assert report.loss == pytest.approx(cross_entropy(output, target).item(), rel=1e-5)
    assert report.loss != pytest.approx(per_batch, rel=1e-3)
    assert report.metrics["accuracy"] == pytest.approx((output.argmax(1) == target).float().mean().item())


def test_two_validations_at_once_say_what_each_says_alone(network: Network) -> None:
    alone = []
    for name, sizes in (("one", (5, 5, 3)), ("two", (4, 4, 4, 2))):
        network.attach(validation(name, sizes=sizes))
        alone += [figures(report) for report in network.watch()]
    network.attach(validation("one", sizes=(5, 5, 3)))
    network.attach(validation("two", sizes=(4, 4, 4, 2)))
    together = {report.sentinel: figures(report) for report in network.watch()}
    assert [together["one"], together["two"]] == alone


def test_a_validation_changes_nothing(network: Network) -> None:
    before = network.model().state_dict()
    network.attach(validation())
    list(network.watch())
    after = network.model().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [gate.version for gate in network.status().gates] == [0, 0, 0]


def test_validations_do_not_change_what_is_trained() -> None:
    states = []
    for companions in (0, 2):
        torch.manual_seed(3)
        with launch(gates(), engine=stepped()) as network:
            for number in range(companions):
                network.attach(validation(f"validation {number}", every=0.02))
            network.attach(training(epochs=12))
            num_validations = sum(report.kind == "validate" for report in network.watch())
            assert num_validations >= 2 * companions
            states.append(network.model().state_dict())
    alone, accompanied = states
    assert all(torch.equal(alone[name], accompanied[name]) for name in alone)


def test_a_test_yields_the_outputs_of_the_model_in_the_order_of_the_data(network: Network) -> None:
    network.attach(training(epochs=2))
    list(network.watch())
    network.attach(examining(in_flight=3))
    (report,) = network.watch()
    model = network.model().eval()
    expected = [model(x) for x, _ in pairs(SIZES, 7)]
    assert len(report.outputs) == 3
    assert all(torch.equal(output, wanted) for output, wanted in zip(report.outputs, expected, strict=True))
    assert report.samples == 13
    assert report.metrics["accuracy"] == pytest.approx(
        sum((output.argmax(1) == y).sum().item() for output, (_, y) in zip(expected, pairs(SIZES, 7), strict=True)) / 13
    )


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: [x]])
def test_a_test_needs_no_targets(network: Network, wrap: Callable[[Tensor], object]) -> None:
    network.attach(TestSentinel("test", lambda: [wrap(x) for x, _ in pairs(SIZES, 7)]))
    (report,) = network.watch()
    model = network.model().eval()
    assert report.samples == 13
    assert all(torch.equal(output, model(x)) for output, (x, _) in zip(report.outputs, pairs(SIZES, 7), strict=True))


def test_a_test_keeps_no_outputs_where_none_are_wanted(network: Network) -> None:
    network.attach(examining(outputs=False))
    (report,) = network.watch()
    assert report.outputs == ()
    assert report.samples == 13


def test_a_test_is_in_evaluation_mode() -> None:
    only = Gate("stem", nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9)), optimizer=SGD)
    with launch([only], engine=stepped()) as network:
        network.attach(examining())
        (report,) = network.watch()
        assert torch.equal(report.outputs[0], only.module.eval()(pairs(SIZES, 7)[0][0]))


def test_staleness_is_reported_by_gate_and_zero_with_one_batch_in_flight(network: Network) -> None:
    network.attach(training("alone", epochs=2, in_flight=1))
    assert all([late.counts.keys() for late in report.staleness.values()] == [{0}] * 3 for report in network.watch())
    network.attach(training("many", epochs=5, in_flight=6))
    reports = list(network.watch())
    assert all(list(report.staleness) == ["stem", "body", "head"] for report in reports)
    assert all(0 < report.staleness["stem"].max <= 5 for report in reports)
    assert network.status().gates[0].staleness.max <= 5


# Coming and going


def test_sentinels_of_every_kind_join_and_leave_while_training_runs(network: Network) -> None:
    network.attach(training("first", in_flight=3))
    network.attach(training("second", in_flight=2))
    network.attach(validation("often", every=0.05))
    network.attach(validation("once"))
    network.attach(examining("test"))
    seen: set[str] = set()
    for report in network.watch():
        seen.add(report.sentinel)
        if seen == {"first", "second", "often", "once", "test"}:
            break
    before = network.status().gates[0].version
    network.detach("first")
    network.attach(examining("another test"))
    network.attach(validation("another validation"))
    later = list(islice(network.watch(), 40))
    assert {"second", "often", "another test", "another validation"} <= {report.sentinel for report in later}
    assert network.status().gates[0].version > before
    for name in ("second", "often"):
        network.detach(name)
    assert network.status().sentinels == ()
    assert is_empty(network)


def test_detaching_waits_for_the_batches_in_flight(network: Network) -> None:
    network.attach(training(in_flight=5, sizes=[5] * 40))
    network.attach(validation(every=0.02, sizes=[5] * 40))
    while network.status().sentinels[0].in_flight < 4 or not network.status().sentinels[1].in_flight:
        pass  # each look makes the simulation step on
    network.detach("validation")
    assert network.status().gates[0].open > 0
    network.detach("train")
    assert is_empty(network)
    (report,) = [report for report in network.watch() if not report.complete]
    versions = {gate.version for gate in network.status().gates}
    assert versions == {report.samples // 5}


def test_detaching_who_has_left_does_nothing_and_who_never_was_there_is_an_error(network: Network) -> None:
    with pytest.raises(ActorNotFound, match=r"no sentinel 'nobody' was ever attached .*; attached are: none"):
        network.detach("nobody")
    network.attach(training(epochs=1))
    list(network.watch())
    network.detach("train")
    network.detach("train")
    assert network.status().state == "open"


def test_detaching_who_cannot_get_through_says_so() -> None:
    with launch(gates(), engine=stepped()) as network:
        network.attach(training(in_flight=5, sizes=[5] * 40))
        with pytest.raises(NoAnswer, match=r"sentinel 'train' still has batches in flight after 0\.001 s"):
            network.detach("train", timeout=0.001)
        network.detach("train")
        assert is_empty(network)


def test_a_name_is_free_again_when_its_sentinel_has_left(network: Network) -> None:
    for _ in range(3):
        network.attach(training(epochs=1))
        assert labels([report for report in network.watch() if report.complete]) == [("train", 1)]
        network.attach(training())
        network.detach("train")
    list(network.watch())
    assert network.status().sentinels == ()


def test_a_name_that_is_attached_is_refused_and_those_that_are_listed(network: Network) -> None:
    network.attach(training())
    network.attach(validation(every=1.0))
    with pytest.raises(WiringError, match=r"a sentinel named 'train' is attached; .* Attached: train, validation"):
        network.attach(examining("train"))
    assert [sentinel.name for sentinel in network.status().sentinels] == ["train", "validation"]


# Watching


def test_watching_ends_when_all_that_have_an_end_have_ended(network: Network) -> None:
    network.attach(validation("endless", every=0.05))
    network.attach(training("short", epochs=2))
    network.attach(training("long", epochs=9))
    reports = list(network.watch())
    assert [report.epoch for report in reports if report.sentinel == "long"] == list(range(1, 10))
    assert [report.epoch for report in reports if report.sentinel == "short"] == [1, 2]
    assert [sentinel.name for sentinel in network.status().sentinels] == ["endless"]


def test_watching_a_network_without_sentinels_ends_at_once(network: Network) -> None:
    assert list(network.watch()) == []


def test_watching_for_ever_goes_on_until_somebody_asks_for_the_end(network: Network) -> None:
    network.attach(training(epochs=2))
    assert network.attached() == ("train",)
    reports = network.watch(forever=True)
    assert [report.epoch for report in islice(reports, 2)] == [1, 2]
    network.attach(training("later", epochs=1))
    assert next(reports).sentinel == "later"
    assert not network.is_closing
    network.end()
    assert list(reports) == []
    assert network.is_closing
    assert network.attached() == ()
    assert network.cause() is None


def test_watching_goes_on_while_nobody_has_an_end(network: Network) -> None:
    network.attach(validation(every=0.5))
    assert [report.epoch for report in islice(network.watch(), 25)] == list(range(1, 26))


def test_watching_goes_on_where_it_stopped_and_nothing_comes_twice(network: Network) -> None:
    network.attach(training("one", epochs=6))
    network.attach(training("two", epochs=6))
    seen: list[Report] = []
    for amount in (1, 2, 4):
        seen += islice(network.watch(), amount)
    for report in network.watch():
        seen.append(report)
        if len(seen) == 9:
            break
    seen += network.watch()
    assert sorted(labels(seen)) == [(name, epoch) for name in ("one", "two") for epoch in range(1, 7)]
    assert list(network.watch()) == []


def test_what_happened_before_anybody_watched_is_not_missed(network: Network) -> None:
    network.attach(training(epochs=3))
    while network.status().sentinels:
        pass  # each look makes the simulation step on
    assert labels(list(network.watch())) == [("train", 1), ("train", 2), ("train", 3)]


def test_who_is_attached_while_watching_is_seen(network: Network) -> None:
    network.attach(training("first", epochs=2))
    seen = []
    for report in network.watch():
        seen.append(report.sentinel)
        if len(seen) == 1:
            network.attach(training("second", epochs=2))
    assert sorted(seen) == ["first", "first", "second", "second"]


# Failures


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"data": broken}, r"sentinel 'bad': its loader raised after batch 0: ZeroDivisionError: broken by the test"),
        ({"data": list}, r"sentinel 'bad': its loader yielded no batch in epoch 1; it must yield some"),
        ({"data": lambda: [torch.ones(2, 4)]}, r"sentinel 'bad': batch 0 cannot be used.*must be a pair"),
        ({"loss": broken}, r"sentinel 'bad': no loss for batch 0: ZeroDivisionError: broken by the test"),
        ({"metrics": {"f1": broken}}, r"sentinel 'bad': no loss for batch 0: ZeroDivisionError"),
        ({"until": broken}, r"sentinel 'bad': its `until` raised: ZeroDivisionError"),
    ],
    ids=["loader", "empty", "no pair", "loss", "metric", "until"],
)
def test_a_sentinel_that_fails_is_named_and_the_others_go_on(
    network: Network, settings: dict[str, Any], what: str
) -> None:
    values: dict[str, Any] = {"name": "bad", "data": data(), "loss": cross_entropy}
    network.attach(TrainingSentinel(**(values | settings)))
    with pytest.raises(SentinelFailed, match=what) as caught:
        list(network.watch())
    assert isinstance(caught.value.__cause__, ZeroDivisionError | TypeError | None)
    network.attach(training("good", epochs=2))
    assert [report for report in labels(list(network.watch())) if report[0] == "good"] == [("good", 1), ("good", 2)]
    assert network.status().state == "open"
    assert is_empty(network)


def test_a_loader_that_runs_dry_in_its_second_epoch_is_named(network: Network) -> None:
    once: Iterator[Pair] = iter(pairs())
    network.attach(TrainingSentinel("train", lambda: once, cross_entropy, epochs=2))
    watch = network.watch()
    assert next(watch).epoch == 1
    with pytest.raises(SentinelFailed, match="its loader yielded no batch in epoch 2"):
        next(watch)


class Picky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("not this one")


def test_a_batch_that_a_gate_refuses_is_named_and_kept_nowhere() -> None:
    engine = stepped()
    with launch([*gates(), Gate("tail", Picky())], engine=engine) as network:
        network.attach(training(in_flight=4))
        what = r"gate 'tail' cannot compute batch \d of sentinel 'train', \(5, 3\) float32: ValueError: not this one"
        with pytest.raises(BatchRefused, match=what):
            list(network.watch())
        assert list(network.watch()) == []
        engine.run(seconds=1.0)
        assert [gate.open for gate in network.status().gates] == [0, 0, 0, 0]
        assert [gate.version for gate in network.status().gates] == [0, 0, 0, 0]


@pytest.mark.parametrize("seed", [680, *range(20)])
def test_a_gate_knows_its_neighbours_before_the_first_batch_comes(seed: int) -> None:
    # The neighbours used to be told by the conductor, and a batch of a sentinel could overtake that: seed 680 did.
    two = [Gate(name, nn.Linear(3, 3), partial(SGD, lr=0.1)) for name in ("a", "b")]
    with launch(two, engine=Stepped(seed)) as network:
        data = [(torch.ones(2, 3), torch.zeros(2, 3))] * 3
        network.attach(TrainingSentinel("train", lambda: data, mse_loss, epochs=1, in_flight=2))
        assert [report.samples for report in network.watch()] == [6]


def test_a_closed_network_says_so_whatever_is_asked_of_it() -> None:
    network = launch(gates(), engine=stepped())
    network.close()
    for ask in (network.status, network.model, lambda: list(network.watch()), lambda: network.detach("train")):
        with pytest.raises(AkkordeonError, match="the network is closed; launch a new one"):
            ask()


def test_a_chain_that_cannot_be_wired_is_refused_before_an_engine_is_used() -> None:
    engine = stepped()
    with pytest.raises(WiringError, match="at least one gate"):
        launch([], engine=engine)
    assert engine.steps == 0
    engine.close()


# Looking at it


def test_the_status_says_how_gates_and_sentinels_stand(network: Network) -> None:
    network.attach(training(epochs=100, in_flight=2))
    network.attach(validation(every=0.5))
    list(islice(network.watch(), 2))
    status = network.status()
    assert (status.state, status.cause) == ("open", None)
    assert [gate.name for gate in status.gates] == ["stem", "body", "head"]
    assert all(gate.version > 4 and gate.skipped == {} and gate.staleness.mean <= 1 for gate in status.gates)
    assert [(each.name, each.kind, each.draining) for each in status.sentinels] == [
        ("train", "train", False),
        ("validation", "validate", False),
    ]
    assert status.sentinels[0].epoch >= 2
    assert status.sentinels[0].done >= 8
    assert status.sentinels[0].in_flight <= 2


def test_the_model_is_an_ordinary_one_of_copies_named_as_the_gates(network: Network) -> None:
    before = network.model()
    network.attach(training(epochs=2))
    list(network.watch())
    model = network.model()
    assert [name for name, _ in model.named_children()] == ["stem", "body", "head"]
    assert not any(torch.equal(a, b) for a, b in zip(before.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert any(parameter.abs().sum() > 0 for parameter in network.model().parameters())


@pytest.mark.parametrize("computations", [1, 3])
def test_the_model_has_the_statistics_of_all_training_batches_and_no_others(computations: int) -> None:
    with launch(chain("stashed", computations), engine=stepped()) as network:
        network.attach(training(epochs=3, in_flight=5))
        network.attach(validation())
        list(network.watch())
        statistics = dict(network.model().named_buffers())
        assert statistics["stem.1.num_batches_tracked"].item() == 12
        assert bool((statistics["stem.1.running_mean"] != 0).all())


def test_a_network_trains_copies_of_the_modules_it_is_given() -> None:
    given = gates()
    before = [parameter.detach().clone() for gate in given for parameter in gate.module.parameters()]
    with launch(given, engine=stepped()) as network:
        network.attach(training(epochs=2))
        list(network.watch())
    after = [parameter for gate in given for parameter in gate.module.parameters()]
    assert all(map(torch.equal, before, after))


def test_a_closed_network_says_so(network: Network) -> None:
    network.attach(training())
    network.close()
    network.close()
    actions: list[Callable[[], object]] = [lambda: network.attach(training()), network.status, network.model]
    for act in actions:
        with pytest.raises(AkkordeonError, match="the network is closed; launch a new one"):
            act()


def test_the_same_seed_gives_the_same_reports() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        with launch(gates(), engine=stepped(seed=8)) as network:
            network.attach(training(epochs=20, in_flight=4))
            network.attach(validation(every=0.1))
            runs.append([str(report) for report in network.watch()])
    assert runs[0] == runs[1]
    assert len(runs[0]) > 20


# Anybody, at any time


def chain(activations: Literal["stashed", "recomputed"], computations: int) -> list[Gate]:
    """Gates with all that makes life hard: statistics, random numbers, writes into the input, two optimizers."""
    stem = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True))
    head = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3))
    return [
        Gate("stem", stem, partial(SGD, lr=0.05), activations=activations, computations=computations),
        Gate("drop", nn.Dropout(0.3), activations=activations, computations=computations),
        Gate("head", head, partial(Adam, lr=0.01), activations=activations, computations=computations),
    ]


class Visitors:
    """Sentinels of every kind that come and go as a seed decides, and what was reported of them."""

    def __init__(self, network: Network, seed: int) -> None:
        self.seen: list[Report] = []
        self.names: list[str] = []
        self._network = network
        self._choice = random.Random(seed)

    def act(self, number: int) -> None:
        choice, name = self._choice, f"sentinel {number}"
        sizes = [5] * choice.randint(1, 12)
        kind = choice.choice(["train", "train", "validate", "test", "leave"])
        match kind:
            case "train":
                ends = choice.choice([None, 1, 3])
                self._network.attach(training(name, in_flight=choice.randint(1, 6), epochs=ends, sizes=sizes))
            case "validate":
                self._network.attach(validation(name, every=choice.choice([None, 0.03, 0.2]), sizes=sizes))
            case "test":
                self._network.attach(examining(name, sizes=sizes))
        if kind != "leave":
            self.names.append(name)
        elif self.names:
            self._network.detach(self.names.pop(choice.randrange(len(self.names))))
        if self._network.status().sentinels:
            self.seen += islice(self._network.watch(), choice.randint(0, 3))

    def leave(self) -> None:
        for name in self.names:
            self._network.detach(name)
        self.seen += self._network.watch()


@pytest.mark.parametrize("seed", range(8))
def test_whoever_comes_and_goes_in_whatever_order_nothing_is_left_behind(seed: int) -> None:
    engine = stepped(seed)
    with launch(chain("stashed" if seed % 2 else "recomputed", 1 + seed % 3), engine=engine) as network:
        visitors = Visitors(network, seed)
        for number in range(8):
            visitors.act(number)
        visitors.leave()
        status = network.status()
        assert (status.state, status.sentinels) == ("open", ())
        assert is_empty(network)
        assert len(set(labels(visitors.seen))) == len(visitors.seen) > 0
        engine.run(seconds=1.0)
        for name in ("sentinel", "provider"):
            for number in range(8):
                with pytest.raises(ActorNotFound):
                    engine.find(f"{name} sentinel {number}")
