"""Metrics that are no means: ours against independent computations, and those of torchmetrics as they are."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC
from torchmetrics.regression import MeanSquaredError

import akkordeon as ak
from akkordeon import (
    Perplexity,
    SentinelFailed,
    TestSentinel,
    TopK,
    TrainingSentinel,
    ValidationSentinel,
    WiringError,
    launch,
)
from akkordeon.actor import Engine
from akkordeon.sentinel.metrics import Metrics
from tests.networks import data, gates, pairs, stepped

IGNORED = -100


def texts(sizes: Sequence[tuple[int, int]], ignore: int = IGNORED) -> list[tuple[Tensor, Tensor]]:
    """Scores, (B, 5, T), and targets, (B, T), of texts of many lengths; some places do not count."""
    found = []
    for number, (size, length) in enumerate(sizes):
        target = torch.randint(5, (size, length))
        target[torch.rand(size, length) < 0.2 * number] = ignore
        found.append((torch.randn(size, 5, length), target))
    return found


@pytest.mark.parametrize("ignore", [-100, 0])
def test_perplexity_weighs_each_target_alike_whatever_the_batches(ignore: int) -> None:
    batches = texts([(1, 7), (6, 3), (2, 20), (5, 1), (3, 4)], ignore)
    gauge = Perplexity(ignore)
    logs: list[float] = []
    for output, target in batches:
        gauge.update(output, target)
        scores = log_softmax(output.double(), dim=1)
        for b, t in ((target != ignore).nonzero()).tolist():
            logs.append(scores[b, int(target[b, t]), t].item())
    assert 20 < len(logs) < sum(target.numel() for _, target in batches)
    assert gauge.compute() == pytest.approx(math.exp(-sum(logs) / len(logs)), rel=1e-6)


def test_perplexity_begins_anew_and_ignores_batches_without_targets() -> None:
    gauge = Perplexity()
    assert math.isnan(gauge.compute())
    gauge.update(torch.randn(3, 5), torch.full((3,), IGNORED))
    assert math.isnan(gauge.compute())
    gauge.update(torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64))
    assert gauge.compute() == pytest.approx(5.0)
    gauge.reset()
    assert math.isnan(gauge.compute())


def test_perplexity_that_no_float_holds_is_infinite() -> None:
    gauge = Perplexity()
    gauge.update(torch.tensor([[0.0, 5000.0]]), torch.tensor([0]))
    assert gauge.compute() == math.inf


def test_perplexity_goes_on_from_its_state() -> None:
    (one, other), whole, second = texts([(4, 5), (2, 9)]), Perplexity(), Perplexity()
    whole.update(*one)
    second.load_state_dict(whole.state_dict())
    whole.update(*other)
    second.update(*other)
    assert second.compute() == whole.compute()


def test_perplexity_takes_scores_in_bfloat16() -> None:
    gauge, output = Perplexity(), torch.randn(4, 5).bfloat16()
    gauge.update(output, torch.arange(4))
    assert gauge.compute() == pytest.approx(math.exp(cross_entropy(output.float(), torch.arange(4)).item()))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_whether_the_target_is_among_the_first_in_order(k: int) -> None:
    for output, target in ((torch.randn(40, 5), torch.randint(5, (40,))), *texts([(3, 8), (2, 2)], ignore=4)):
        columns, wanted = output.movedim(1, -1).reshape(-1, 5).tolist(), target.flatten().tolist()
        ranks = [
            sorted(range(5), key=column.__getitem__, reverse=True).index(c)
            for column, c in zip(columns, wanted, strict=True)
        ]
        assert TopK(k)(output, target).item() == pytest.approx(sum(rank < k for rank in ranks) / len(ranks))
        indices = output.topk(k, dim=1).indices.movedim(1, -1)
        assert TopK(k)(output, target).item() == pytest.approx(
            sum(map(list.__contains__, indices.reshape(-1, k).tolist(), wanted)) / len(wanted)
        )


def test_top_1_is_accuracy() -> None:
    output, target = torch.randn(64, 9), torch.randint(9, (64,))
    assert torch.equal(TopK(1)(output, target), ak.accuracy(output, target))


def test_a_top_k_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        TopK(0)
    with pytest.raises(ValueError, match="k must be at most the number of classes, 5, not 6"):
        TopK(6)(torch.randn(3, 5), torch.zeros(3, dtype=torch.int64))


# In a network


class Recorder:
    """A gauge that keeps all it is given; each copy computes the number of its book, from its last `reset` on."""

    books: ClassVar[dict[int, list[tuple[Tensor, Tensor]]]] = defaultdict(list)
    count = 0

    def reset(self) -> None:
        Recorder.count += 1
        self.book = Recorder.count

    def update(self, output: Tensor, target: Tensor) -> None:
        self.books[self.book].append((output.clone(), target.clone()))

    def compute(self) -> float:
        return float(self.book)


SIZES = (5, 3, 1)


@pytest.mark.parametrize("in_flight", [1, 8])
def test_gauges_of_overlapping_epochs_hold_the_batches_of_their_own(in_flight: int, engine: Engine) -> None:
    """Three batches per epoch and eight in flight: several epochs are open at once."""
    metrics: Metrics = {
        "recorder": Recorder(),
        "perplexity": Perplexity(),
        "micro": MulticlassAccuracy(3, average="micro"),
        "macro": MulticlassAccuracy(3, average="macro"),
        "auroc": MulticlassAUROC(3, thresholds=None),  # keeps all it saw
        "ours": ak.accuracy,
        "top 2": TopK(2),
    }
    described = TrainingSentinel("train", data(SIZES), cross_entropy, metrics, in_flight=in_flight, epochs=9)
    with launch(gates(), engine=engine) as network:
        network.attach(described)
        reports = list(network.watch())
    assert sorted(report.epoch for report in reports) == list(range(1, 10))
    for report in reports:
        seen = Recorder.books[int(report.metrics["recorder"])]
        assert sorted(len(target) for _, target in seen) == [1, 3, 5]
        output, target = (torch.cat(each) for each in zip(*seen, strict=True))
        right = output.argmax(dim=1) == target
        assert report.metrics["micro"] == pytest.approx(right.float().mean().item())
        assert report.metrics["ours"] == pytest.approx(right.float().mean().item())
        shares = [right[target == c].float().mean().item() for c in set(target.tolist())]
        assert report.metrics["macro"] == pytest.approx(sum(shares) / len(shares))
        assert report.metrics["perplexity"] == pytest.approx(math.exp(cross_entropy(output, target).item()), rel=1e-5)
        assert report.metrics["top 2"] == pytest.approx(TopK(2)(output, target).item())
        assert 0 <= report.metrics["auroc"] <= 1


def test_the_object_given_is_left_as_it_was(engine: Engine) -> None:
    given = MulticlassAccuracy(3)
    with launch(gates(), engine=engine) as network:
        network.attach(TrainingSentinel("train", data(), cross_entropy, {"accuracy": given}, epochs=2))
        network.attach(ValidationSentinel("validation", data(), cross_entropy, {"accuracy": given}))
        reports = list(network.watch())
    assert len(reports) == 3
    assert not given.update_called


def test_a_gauge_of_a_regression_equals_the_mean_over_all_numbers(engine: Engine) -> None:
    torch.manual_seed(0)
    module, batches = nn.Linear(4, 2), [(torch.randn(n, 4), torch.randn(n, 2)) for n in (7, 2, 4)]
    with launch([ak.Gate("g", module.requires_grad_(False))], engine=engine) as network:
        network.attach(TestSentinel("test", lambda: batches, metrics={"mse": MeanSquaredError()}, outputs=False))
        (report,) = network.watch()
    errors = torch.cat([(module(x) - y).flatten() for x, y in batches])
    assert report.metrics["mse"] == pytest.approx((errors**2).mean().item())


class Broken:
    def __init__(self, at: str) -> None:
        self.at = at

    def update(self, output: Tensor, target: Tensor) -> None:
        if self.at == "update":
            raise ZeroDivisionError("broken by the test")

    def compute(self) -> Any:
        if self.at == "compute":
            raise ZeroDivisionError("broken by the test")
        return "many" if self.at == "text" else torch.ones(2)

    def reset(self) -> None:
        """Nothing to do."""


def named(error: BaseException) -> str:
    """All that is told of an error: its words, and the notes of what caused it."""
    return " ".join([str(error), *getattr(error.__cause__, "__notes__", [])])


@pytest.mark.parametrize("kind", [TrainingSentinel, ValidationSentinel, TestSentinel])
@pytest.mark.parametrize("at", ["update", "compute", "text", "two numbers"])
def test_a_gauge_that_fails_is_named(kind: Any, at: str, engine: Engine) -> None:
    settings = {"epochs": 1} if kind is TrainingSentinel else {}
    with launch(gates(), engine=engine) as network:
        network.attach(kind("one", data(), cross_entropy, {"f1": Broken(at)}, **settings))
        with pytest.raises(SentinelFailed, match=r"sentinel 'one': no ") as caught:
            list(network.watch())
        assert "raised by the metric 'f1'" in named(caught.value)
        assert all(gate.open == 0 for gate in network.status().gates)
        network.attach(TrainingSentinel("next", data(), cross_entropy, epochs=1))
        assert len(list(network.watch())) == 1  # the network lives on


def test_a_collection_of_several_figures_is_an_error_that_names_it() -> None:
    several = torchmetrics.MetricCollection([MulticlassAccuracy(3), MulticlassAUROC(3, thresholds=5)])
    with launch(gates(), engine=stepped()) as network:
        network.attach(TrainingSentinel("train", data(), cross_entropy, {"several": several}, epochs=1))
        with pytest.raises(SentinelFailed, match="no figures for epoch 1") as caught:
            list(network.watch())
    assert "the metric 'several', which must compute one number" in named(caught.value)


class Figure(Perplexity):
    """Has a name, and no value before it is made."""


@pytest.mark.parametrize("metric", [Perplexity, Figure, MulticlassAccuracy, TopK, 3, "accuracy", None, object()])
def test_a_metric_that_is_no_object_to_use_is_refused_with_the_remedy(metric: Any) -> None:
    with pytest.raises(
        WiringError, match=r"'one': metric 'p' must be a callable .* or an object .* Perplexity\(\), not"
    ):
        TrainingSentinel("one", data(), cross_entropy, {"p": metric})


def test_an_incomplete_epoch_reports_what_it_has() -> None:
    with launch(gates(), engine=stepped()) as network:
        endless: Callable[[], Any] = partial(pairs, [5] * 50)
        network.attach(TrainingSentinel("train", endless, cross_entropy, {"p": Perplexity()}, seconds=0.3))
        (report,) = network.watch()
    assert not report.complete
    assert report.metrics["p"] == pytest.approx(math.exp(report.loss), rel=1e-5)
