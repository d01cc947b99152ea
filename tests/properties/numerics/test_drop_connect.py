"""DropConnect drops weights, not activations, in training only."""

from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from tests.properties.numerics.loops import (
    SEED,
    assert_same,
    assert_same_tensors,
    evaluate_plainly,
    train_as_network,
    train_plainly,
)

FEATURES = 6


def make(p: float = 0.5) -> tuple[ak.DropConnect, nn.Linear]:
    """Return the module, and a copy of what is in it."""
    torch.manual_seed(SEED)
    plain = nn.Linear(FEATURES, 4)
    torch.manual_seed(SEED)
    return ak.DropConnect(nn.Linear(FEATURES, 4), p), plain


def effective_weight(module: ak.DropConnect, plain: nn.Linear) -> Tensor:
    """Return the weight (out, in) that one forward uses."""
    assert plain.bias is not None
    output: Tensor = module(torch.eye(FEATURES))
    return (output - plain.bias).T


def original(module: ak.DropConnect) -> nn.Parameter:
    return next(p for p in module.parameters() if p.dim() == 2)


def test_each_forward_zeroes_some_weights_and_scales_the_others() -> None:
    module, plain = make(0.25)
    masks = []
    for _ in range(50):
        used = effective_weight(module, plain)
        kept = used.abs() > 1e-6
        torch.testing.assert_close(used[kept], (plain.weight / 0.75)[kept])
        masks.append(kept)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 40
    share = torch.stack(masks).float().mean().item()
    assert share == pytest.approx(0.75, abs=0.05)


def test_it_masks_weights_and_not_activations() -> None:
    module, plain = make(0.25)
    used = effective_weight(module, plain)
    dropped = used.abs() < 1e-6
    assert not bool(dropped.all(dim=0).any())  # no input is lost to all outputs …
    assert not bool(dropped.all(dim=1).any())  # … and no output has lost all its inputs
    assert bool(dropped.any())


def test_all_samples_of_a_batch_meet_the_same_weights() -> None:
    module, _ = make()
    output = module(torch.ones(5, FEATURES))
    torch.testing.assert_close(output, output[:1].expand_as(output))


def test_the_bias_is_not_dropped() -> None:
    module, plain = make(0.9)
    assert plain.bias is not None
    for _ in range(10):
        assert torch.equal(module(torch.zeros(1, FEATURES))[0], plain.bias)


def test_another_parameter_can_be_dropped_instead() -> None:
    linear = nn.Linear(FEATURES, 400)
    bias = linear.bias.detach().clone()
    module = ak.DropConnect(linear, 0.5, name="bias")
    output = module(torch.zeros(1, FEATURES))[0]
    kept = output != 0
    assert kept.float().mean().item() == pytest.approx(0.5, abs=0.1)
    torch.testing.assert_close(output[kept], 2 * bias[kept])


def test_evaluation_uses_the_weights_themselves() -> None:
    module, plain = make()
    module.eval()
    x = torch.randn(3, FEATURES)
    for _ in range(3):
        assert torch.equal(module(x), plain(x))
    module.train()
    assert not torch.equal(module(x), plain(x))


def test_nothing_is_dropped_with_probability_zero() -> None:
    module, plain = make(0.0)
    x = torch.randn(3, FEATURES)
    assert torch.equal(module(x), plain(x))


def test_the_expected_weight_is_the_weight() -> None:
    module, plain = make(0.3)
    with torch.no_grad():
        mean = torch.stack([effective_weight(module, plain) for _ in range(4000)]).mean(0)
    # The standard error of a weight w is |w| (0.3 / 0.7)^½ / 4000^½, about 0.01 |w|, and |w| < 0.41.
    torch.testing.assert_close(mean, plain.weight.detach(), atol=0.02, rtol=0)


def test_the_gradient_goes_to_the_weights_that_were_kept_only() -> None:
    module, plain = make()
    x = torch.ones(1, FEATURES)
    seen: set[tuple[float, ...]] = set()
    for _ in range(20):
        torch.manual_seed(len(seen))
        used = effective_weight(module, plain)
        torch.manual_seed(len(seen))
        (gradient,) = torch.autograd.grad(module(x).sum(), original(module))
        expected = torch.where(used.abs() > 1e-6, 2.0, 0.0)
        assert torch.equal(gradient, expected)
        seen.add(tuple(gradient.flatten().tolist()))
    assert len(seen) > 1


def test_the_parameters_are_those_of_the_module_inside() -> None:
    module, plain = make()
    ours = {tuple(parameter.shape): parameter.detach() for parameter in module.parameters()}
    inside = {tuple(parameter.shape): parameter.detach() for parameter in plain.parameters()}
    assert ours.keys() == inside.keys()
    assert_same_tensors([ours[shape] for shape in inside], list(inside.values()))
    assert all(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
def test_a_probability_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=rf"^p must be at least 0 and less than 1, not {p}$"):
        ak.DropConnect(nn.Linear(2, 2), p)


def test_a_parameter_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"^Linear has no parameter 'wait'; it has: weight, bias$"):
        ak.DropConnect(nn.Linear(2, 2), name="wait")
    with pytest.raises(ValueError, match=r"^ReLU has no parameter 'weight'; it has: none$"):
        ak.DropConnect(nn.ReLU())


def chain() -> list[nn.Module]:
    torch.manual_seed(SEED)
    return [
        nn.Sequential(ak.DropConnect(nn.Linear(FEATURES, 8), 0.3), nn.ReLU()),
        nn.Sequential(ak.DropConnect(nn.Linear(8, 8), 0.3), nn.Dropout(0.2)),
        ak.DropConnect(nn.Linear(8, 3), 0.5),
    ]


@pytest.mark.parametrize("computations", [1, 2])
@pytest.mark.parametrize("activations", ["stashed", "recomputed"])
def test_in_gates_it_trains_as_in_a_plain_loop(
    engine: Engine, activations: Literal["stashed", "recomputed"], computations: int
) -> None:
    batches = [(torch.randn(size, FEATURES), torch.randint(3, (size,))) for size in [5] * 9 + [2]]
    optimizer = partial(SGD, lr=0.1, momentum=0.9)
    gates = [
        ak.Gate(f"gate {n}", module, optimizer, activations=activations, computations=computations)
        for n, module in enumerate(chain())
    ]
    torch.manual_seed(SEED)
    ours = train_as_network(gates, engine, batches, epochs=2)
    model = nn.Sequential(*chain())
    torch.manual_seed(SEED)
    train_plainly(model, optimizer, batches, epochs=2)
    assert_same(ours.model, model)
    assert_same_tensors(ours.outputs, evaluate_plainly(model, batches))
