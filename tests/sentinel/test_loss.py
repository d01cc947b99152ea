"""Loss, metrics and the gradient of the loss with respect to the network's output."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from akkordeon.sentinel.loss import LossAndMetrics
from akkordeon.sentinel.metrics import accuracy


def raising(output: Any, target: Any) -> Tensor:
    raise ZeroDivisionError("no such class")


def note(caught: pytest.ExceptionInfo[BaseException]) -> str:
    return " ".join(caught.value.__notes__)


def test_learning_yields_the_figures_and_the_gradient_of_the_loss() -> None:
    output, target = torch.randn(6, 3), torch.randint(3, (6,))
    figures, gradients = LossAndMetrics(cross_entropy, {"accuracy": accuracy}).learn(output, target)
    leaf = output.clone().requires_grad_()
    loss = cross_entropy(leaf, target)
    (expected,) = torch.autograd.grad(loss, leaf)
    assert figures == {"loss": loss.item(), "accuracy": accuracy(output, target).item()}
    assert len(gradients) == 1
    assert gradients[0] is not None
    assert torch.equal(gradients[0], expected)


def test_learning_leaves_the_output_as_it_came() -> None:
    output, target = torch.randn(6, 3), torch.randint(3, (6,))
    before = output.clone()
    LossAndMetrics(cross_entropy, {}).learn(output, target)
    assert torch.equal(output, before)
    assert not output.requires_grad


def test_a_tree_gets_one_gradient_per_tensor_and_none_for_integers_and_what_is_unused() -> None:
    output = {"logits": torch.randn(4, 3), "choice": torch.tensor([1, 2]), "more": (torch.randn(2), 5)}
    judge = LossAndMetrics(lambda out, target: cross_entropy(out["logits"], target) * out["more"][1], {})
    _, gradients = judge.learn(output, torch.randint(3, (4,)))
    assert gradients[0] is not None
    assert gradients[0].shape == (4, 3)
    assert gradients[1:] == (None, None)


def test_measuring_yields_the_same_figures_as_learning() -> None:
    output, target = torch.randn(6, 3), torch.randint(3, (6,))
    judge = LossAndMetrics(cross_entropy, {"accuracy": accuracy})
    assert judge.measure(output, target) == judge.learn(output, target)[0]


def test_without_a_loss_the_metrics_are_measured_alone() -> None:
    figures = LossAndMetrics(None, {"largest": lambda output, _: output.max()}).measure(
        torch.tensor([[1.0, 4.0]]), None
    )
    assert figures == {"largest": 4.0}


def test_metrics_are_computed_without_a_graph() -> None:
    seen: list[bool] = []

    def metric(output: Tensor, target: Tensor) -> float:
        seen.append(torch.is_grad_enabled())
        return 1.0

    judge = LossAndMetrics(cross_entropy, {"m": metric})
    judge.learn(torch.randn(2, 3), torch.tensor([0, 1]))
    judge.measure(torch.randn(2, 3), torch.tensor([0, 1]))
    assert seen == [False, False]


def test_a_loss_of_one_element_counts_as_a_number() -> None:
    figures, gradients = LossAndMetrics(lambda out, _: out.mean().reshape(1, 1), {}).learn(torch.ones(4), None)
    assert figures == {"loss": 1.0}
    assert gradients[0] is not None
    assert torch.equal(gradients[0], torch.full((4,), 0.25))


def test_a_loss_per_sample_is_refused_with_the_remedy() -> None:
    judge = LossAndMetrics(lambda output, target: cross_entropy(output, target, reduction="none"), {})
    for act in (judge.learn, judge.measure):
        with pytest.raises(TypeError, match=r"must be one number.* not \(6,\) float32; reduce it, as with \.mean\(\)"):
            act(torch.randn(6, 3), torch.randint(3, (6,)))


def test_a_loss_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="must be one number, the mean over the batch, not float"):
        LossAndMetrics(lambda output, target: 0.5, {}).learn(torch.randn(2, 3), None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    "loss", [lambda output, target: torch.tensor(1.0), lambda output, target: output.detach().mean()]
)
def test_a_loss_that_does_not_depend_on_the_output_is_refused(loss: Any) -> None:
    with pytest.raises(TypeError, match="does not depend on the network's output in a way that has a gradient"):
        LossAndMetrics(loss, {}).learn(torch.randn(2, 3), None)


def test_what_the_loss_raises_comes_with_a_note() -> None:
    with pytest.raises(ZeroDivisionError, match="no such class") as caught:
        LossAndMetrics(raising, {}).learn(torch.randn(2, 3), torch.tensor([0, 1]))
    assert note(caught) == "raised by the loss"


def test_what_a_metric_raises_comes_with_a_note_that_names_it() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        LossAndMetrics(cross_entropy, {"accuracy": accuracy, "f1": raising}).measure(
            torch.randn(2, 3), torch.tensor([0, 1])
        )
    assert note(caught) == "raised by the metric 'f1'"


# Losses and metrics that write into what they are given


def clamping(output: Tensor, target: Tensor) -> Tensor:
    output[:, 1:] = output[:, 1:].sigmoid()
    return cross_entropy(output, target)


def sigmoid(output: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(output.sigmoid_(), target)


def masking(output: Tensor, target: Tensor) -> Tensor:
    output[target == 0] = 0
    return output.pow(2).mean()


def unseen(output: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        output.clamp_(-0.5, 0.5)
    return cross_entropy(output, target)


@pytest.mark.parametrize("loss", [clamping, sigmoid, masking, unseen], ids=lambda loss: loss.__name__)
def test_a_loss_may_write_into_the_output(loss: Any) -> None:
    judge = LossAndMetrics(loss, {"largest": lambda output, _: output.max()})
    for _ in range(3):
        output, target = torch.randn(6, 3), torch.randint(3, (6,))
        before = output.clone()
        figures, gradients = judge.learn(output, target)
        leaf = before.clone().requires_grad_()
        value = loss(leaf.clone(), target)
        (expected,) = torch.autograd.grad(value, leaf)
        assert torch.equal(output, before)
        assert figures == {"loss": value.item(), "largest": before.max().item()}
        assert gradients[0] is not None
        assert torch.equal(gradients[0], expected)
        assert judge.measure(output, target) == figures
        assert torch.equal(output, before)


def test_a_loss_may_begin_to_write_later() -> None:
    calls: list[bool] = []

    def late(output: Tensor, target: Tensor) -> Tensor:
        calls.append(output.is_leaf)
        if len(calls) > 2:
            output.mul_(2)
        return cross_entropy(output, target)

    judge = LossAndMetrics(late, {})
    output, target = torch.randn(6, 3), torch.randint(3, (6,))
    found = [judge.learn(output, target)[0]["loss"] for _ in range(4)]
    assert calls == [False, True, True, False, False]  # the third is tried once more, with a copy
    assert found == [cross_entropy(output * factor, target).item() for factor in (1, 1, 2, 2)]


def test_a_metric_may_write_into_the_output_and_disturbs_no_other() -> None:
    def first(output: Tensor, _: Any) -> Tensor:
        return output.fill_(7.0).mean()

    class Last:
        def reset(self) -> None:
            self.sum = 0.0

        def update(self, output: Tensor, _: Any) -> None:
            self.sum += float(output.zero_().sum())

        def compute(self) -> float:
            return self.sum

    judge = LossAndMetrics(cross_entropy, {"first": first, "last": Last(), "mean": lambda output, _: output.mean()})
    output, target = torch.randn(6, 3), torch.randint(3, (6,))
    before = output.clone()
    for _ in range(2):
        for act in (judge.learn, judge.measure):
            found: Any = act(output, target, judge.gauges())
            figures = found[0] if isinstance(found, tuple) else found
            assert figures == {"loss": cross_entropy(before, target).item(), "first": 7.0, "mean": before.mean().item()}
            assert torch.equal(output, before)


def test_what_begins_to_write_where_no_copy_was_made_is_refused_by_name() -> None:
    def late(output: Tensor, target: Tensor) -> Tensor:
        return output.zero_().sum() if target.sum() else output.sum()

    judge = LossAndMetrics(None, {"late": late})
    judge.measure(torch.randn(6, 3), torch.zeros(6))
    with pytest.raises(RuntimeError, match="wrote into the output, which it did not do at its first batch") as caught:
        judge.measure(torch.randn(6, 3), torch.ones(6))
    assert note(caught) == "raised by the metric 'late'"


def test_nobody_else_gets_a_copy_after_the_first_batch() -> None:
    places: list[int] = []

    def watching(output: Tensor, target: Tensor) -> Tensor:
        places.append(output.data_ptr())
        return cross_entropy(output, target)

    judge = LossAndMetrics(watching, {"watching": watching})
    output, target = torch.randn(6, 3), torch.randint(3, (6,))
    judge.learn(output, target)
    judge.learn(output, target)
    assert output.data_ptr() not in places[:2]
    assert places[2:] == [output.data_ptr()] * 2


# Losses that depend on more than the output


class Doubling(torch.autograd.Function):
    """Keeps under the name of a leaf's own attribute what is no leaf."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.variable = x * 3
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


doubled: Any = Doubling.apply

WEIGHT = torch.nn.Parameter(torch.ones(3))
FEATURES = torch.nn.Linear(4, 3)
FROZEN = torch.nn.Linear(3, 3).requires_grad_(False)


def learned(output: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(output * WEIGHT, target)


def uncertain(output: Tensor, target: Tensor) -> Tensor:
    """A learned weight that is no parameter, deep in the graph."""
    scale = torch.zeros((), requires_grad=True)
    value = cross_entropy(output, target)
    for _ in range(40):
        value = value * torch.exp(-scale) + scale
    return value


def with_features(output: Tensor, target: Tensor) -> Tensor:
    value: Tensor = cross_entropy(output, target) + FEATURES(torch.ones(2, 4)).pow(2).mean()
    return value


def without_the_output(output: Tensor, target: Tensor) -> Tensor:
    return WEIGHT.sum()


def nothing_but_a_leaf(output: Tensor, target: Tensor) -> Tensor:
    return WEIGHT[:1] if target is None else torch.nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    "loss",
    [learned, uncertain, with_features, without_the_output, nothing_but_a_leaf],
    ids=lambda loss: loss.__name__,
)
def test_a_loss_that_reaches_beyond_the_output_is_refused_with_the_remedy(loss: Any) -> None:
    judge = LossAndMetrics(loss, {})
    with pytest.raises(TypeError, match=r"depends on more than the network's output: .* weights that learn .* a gate"):
        judge.learn(torch.randn(6, 3), torch.randint(3, (6,)))


@pytest.mark.parametrize(
    "loss",
    [
        lambda output, target: cross_entropy(FROZEN(output), target),
        lambda output, target: cross_entropy(doubled(output), target),
        lambda output, target: cross_entropy(output * WEIGHT.detach(), target),
        lambda output, target: cross_entropy(output, target) + output.detach().sum(),
        lambda output, target: cross_entropy(output, target, weight=torch.ones(3)),
    ],
)
def test_a_loss_of_the_output_and_constants_is_no_such_loss(loss: Any) -> None:
    judge = LossAndMetrics(loss, {})
    for _ in range(2):
        assert judge.learn(torch.randn(6, 3), torch.randint(3, (6,)))[1][0] is not None


def test_a_target_that_requires_a_gradient_is_a_constant_like_any_other() -> None:
    target = torch.randn(6, 3, requires_grad=True)
    _, (gradient,) = LossAndMetrics(torch.nn.functional.mse_loss, {}).learn(torch.randn(6, 3), target)
    assert gradient is not None
    assert target.grad is None


def test_a_loss_that_reaches_beyond_the_output_from_some_batch_on_is_found_then() -> None:
    started: list[int] = []

    def late(output: Tensor, target: Tensor) -> Tensor:
        started.append(1)
        return cross_entropy(output * WEIGHT if len(started) == 7 else output, target)

    judge = LossAndMetrics(late, {})
    for _ in range(6):
        judge.learn(torch.randn(6, 3), torch.randint(3, (6,)))
    with pytest.raises(TypeError, match=r"on a tensor of shape \(3,\), whose gradient would be lost"):
        judge.learn(torch.randn(6, 3), torch.randint(3, (6,)))
