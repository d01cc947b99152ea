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
