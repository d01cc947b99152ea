"""`split` cuts models that people already have; what it cannot cut it refuses in one sentence with a remedy."""

import itertools
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.splitting.balance import evenly
from tests.models import Masked, ResNet, Scaled, Tied

split = partial(ak.split, optimizer=partial(SGD, lr=0.1))

PICTURES = torch.randn(3, 1, 8, 8)
TOKENS = torch.randint(20, (3, 6))


def sequential() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 6),
        nn.ReLU(inplace=True),
        nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh()),
        nn.Linear(5, 3),
    )


def state_of(gates: Sequence[ak.Gate]) -> dict[str, Tensor]:
    return {gate.whole_prefix + name: tensor for gate in gates for name, tensor in gate.module.state_dict().items()}


def through(gates: Sequence[ak.Gate], x: Any) -> Any:
    for gate in gates:
        x = gate.module(x)
    return x


def names_of(gates: Sequence[ak.Gate]) -> list[str]:
    return [gate.name for gate in gates]


def test_a_sequential_is_cut_where_the_names_say() -> None:
    model = sequential()
    gates = split(model, at=["2"])
    assert names_of(gates) == ["0", "2"]
    assert [list(gate.module.state_dict()) for gate in gates] == [
        ["0.weight", "0.bias"],
        [*(name for name in model.state_dict() if name[0] == "2"), "3.weight", "3.bias"],
    ]


def test_a_cut_may_go_into_a_nested_sequential() -> None:
    gates = split(sequential(), at=["2.1", "3"], sample=torch.randn(5, 4))
    assert names_of(gates) == ["0", "2_1", "3"]
    assert "2.0.weight" in gates[0].module.state_dict()
    assert "2.1.running_mean" in gates[1].module.state_dict()


@pytest.mark.parametrize(
    ("model", "at", "x"),
    [
        (sequential(), ["1", "2", "3"], torch.randn(5, 4)),
        (ResNet(), ["layer1", "layer2", "fc"], PICTURES),
        (ResNet(), ["layer1.1", "layer2.0", "layer2.2"], PICTURES),
        (ResNet(), ["bn1", "layer2.0.bn1"], PICTURES),
        (Masked(), ["blocks.1", "blocks.2", "head"], TOKENS),
        (Masked(), ["blocks.0", "blocks.3"], {"weights": torch.rand(3, 6), "tokens": TOKENS}),
        (Masked(), ["blocks.1.norm"], (TOKENS, torch.rand(3, 6))),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_the_gates_compute_what_the_model_does_under_its_names(
    model: nn.Module, at: list[str], x: Any, training: bool
) -> None:
    gates = split(model, at, sample=x)
    state = state_of(gates)
    assert len(gates) == len(at) + 1
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())

    model.train(training)
    for gate in gates:
        gate.module.train(training)
    torch.manual_seed(3)
    ours = through(gates, x)
    torch.manual_seed(3)
    expected = model(**x) if isinstance(x, dict) else model(*x) if isinstance(x, tuple) else model(x)
    for one, other in zip(*[out.values() if isinstance(out, dict) else [out] for out in (ours, expected)], strict=True):
        assert torch.equal(one, other)


def test_batches_of_another_size_than_the_sample_go_through() -> None:
    model = Masked().eval()
    gates = split(model, at=["blocks.1"], sample=TOKENS)
    for gate in gates:
        gate.module.eval()
    for shape in ((1, 6), (4, 9)):
        tokens = torch.randint(20, shape)
        assert torch.equal(through(gates, tokens)["logits"], model(tokens)["logits"])


def test_a_mask_maker_is_called_anew_for_each_batch() -> None:
    model = Masked().eval()
    gates = split(model, at=["blocks.1"], sample=torch.full((2, 6), 3))
    for gate in gates:
        gate.module.eval()
    padded = torch.tensor([[3, 4, 0, 0, 0, 0], [1, 2, 3, 0, 0, 0]])
    assert torch.equal(through(gates, padded)["logits"], model(padded)["logits"])


def test_the_model_is_not_changed() -> None:
    model = ResNet().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    split(model, gates=3, sample=PICTURES)
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_settings_and_names_go_to_the_gates() -> None:
    gates = split(sequential(), at=["2"], names=["a", "b"], max_norm=1.0, compensation=ak.DelayCompensation())
    assert names_of(gates) == ["a", "b"]
    assert all(gate.max_norm == 1.0 and len(gate.compensations) == 1 and gate.whole_prefix == "" for gate in gates)


def test_what_no_step_uses_stays_in_the_first_gate(caplog: pytest.LogCaptureFixture) -> None:
    class Spare(ResNet):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Linear(2, 2)

    with caplog.at_level(logging.INFO):
        gates = split(Spare(), at=["layer1"])
    assert "spare.weight" in gates[0].module.state_dict()
    assert "no step of the forward uses spare.weight, spare.bias; kept in gate 'conv1'" in caplog.text


def test_a_weight_that_glue_needs_twice_has_one_owner_and_travels() -> None:
    gates = split(Scaled(), at=["two", "three"], sample=torch.randn(2, 64))
    assert [sorted(gate.module.state_dict()) for gate in gates] == [
        ["one.bias", "one.weight", "scale"],
        ["two.bias", "two.weight"],
        ["three.bias", "three.weight"],
    ]


def test_modules_and_tensors_made_in_the_forward_are_made_anew() -> None:
    class Making(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Any:
            x = nn.ReLU()(self.one(x)) + torch.rand(3) + torch.zeros(x.shape[0], 3, dtype=x.dtype)
            x[:, 0] = torch.finfo(x.dtype).eps
            return self.two(x)

    gates = split(Making(), at=["two"], sample=torch.randn(2, 3))
    x = torch.randn(4, 3)
    assert not torch.equal(through(gates, x), through(gates, x))


def test_untie_gives_each_further_user_a_copy_of_its_own() -> None:
    model = Tied()
    with pytest.raises(ak.WiringError, match=r"'embed.weight' and 'head.weight' are one parameter, and gates 'embed'"):
        split(model, at=["head"])
    assert ak.untie(model) is model
    assert model.head.weight is not model.embed.weight
    assert torch.equal(model.head.weight, model.embed.weight)
    assert state_of(split(model, at=["head"])).keys() == model.state_dict().keys()


def test_untie_copies_a_module_that_stands_in_two_places() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    with pytest.raises(ak.WiringError, match=r"'0.weight' and '2.weight' are one parameter, and gates '0' and '1'"):
        split(model, at=["1"])
    gates = split(ak.untie(model), at=["1"])
    assert state_of(gates).keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_tied_parameters_may_be_in_one_gate() -> None:
    model = nn.Sequential(nn.Linear(2, 2), Tied())
    gates = split(model, at=["1"])
    assert len(list(gates[1].module.parameters())) == 3


class Looping(nn.Module):
    def __init__(self, *more: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), *more, *[nn.Linear(3, 3) for _ in more])
        self.head = nn.Linear(3, 2)
        self.never = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Any:
        for _ in range(3):
            x = self.block(x)
        return self.head(x)


class Reusing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Linear(3, 3), nn.Linear(3, 3), nn.Tanh()
        self.again = self.act

    def forward(self, x: Tensor) -> Any:
        return self.again(self.two(self.act(self.one(x))))


def is_positive(x: Tensor) -> bool:
    return bool(x.sum() > 0)


class Deciding(nn.Module):
    def __init__(self, by: str) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.by = by

    def forward(self, x: Tensor) -> Any:
        x = self.one(x)
        return self.two(x) if self.decide(x) else -self.two(x)

    def decide(self, x: Tensor) -> bool:
        match self.by:
            case "values":
                return bool(x.sum() > 0)
            case "item":
                return bool(x.sum().item() > 0)
            case "helper":
                return is_positive(x)
            case "shape":
                return bool(x.shape[0] > 2)
            case _:
                return len(x) > 2


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (ResNet(), {}, "give either at="),
        (ResNet(), {"at": ["fc"], "gates": 2}, "give either at=.* or gates="),
        (ResNet(), {"gates": 2}, "needs a sample"),
        (ResNet(), {"gates": 0, "sample": PICTURES}, "at least 1, not 0"),
        (ResNet(), {"gates": 99, "sample": PICTURES}, "can be cut into 9 gates at most, not 99"),
        (ResNet(), {"at": "fc"}, 'write at=\\["fc"\\]'),
        (ResNet(), {"at": ["layer3"]}, "has no submodule 'layer3'; did you mean 'layer2'\\? There are: conv1, bn1"),
        (ResNet(), {"at": ["layer2.7"]}, "There are: layer2.0, layer2.1, layer2.2"),
        (ResNet(), {"at": [""]}, "has no submodule ''"),
        (ResNet(), {"at": ["fc", "layer1"]}, "'fc' is called after 'layer1'"),
        (ResNet(), {"at": ["fc", "fc"]}, "'fc' is named twice"),
        (ResNet(), {"at": ["layer1", "layer1.0"]}, "no submodule is called between 'layer1' and 'layer1.0'"),
        (ResNet(), {"at": ["conv1", "fc"]}, "'conv1' is the first submodule that is called"),
        (sequential(), {"at": ["0"]}, "'0' is the first submodule that is called"),
        (sequential(), {"at": ["3"], "names": ["one"]}, "must name each of the 2 gates"),
        (sequential(), {"at": ["3"], "names": ["one", "one"]}, "two gates would have the same name"),
        (Looping(), {"at": ["block.0"]}, "'block.0' is the first submodule that is called"),
        (Looping(), {"at": ["block.1"]}, "'block.1' is called more than once"),
        (Looping(nn.Tanh()), {"at": ["block.3"]}, "'block.0' is used more than once, and gates .* in one gate"),
        (Reusing(), {"at": ["act"]}, "'act' is called more than once"),
        (Reusing(), {"at": ["again"]}, "'again' is the same module as 'act'"),
        (Looping(), {"at": ["never"]}, "'never' is not called in the forward of Looping"),
        (nn.TransformerEncoderLayer(4, 2), {"at": ["self_attn.out_proj"], "sample": torch.ones(1, 3, 4)}, "out_proj"),
        (Deciding("values"), {"at": ["two"], "sample": torch.ones(3, 3)}, "past line .* of test_split.py: it decides"),
        (Deciding("item"), {"at": ["two"], "sample": torch.ones(3, 3)}, "it decides by the values in a tensor"),
        (Deciding("helper"), {"at": ["two"], "sample": torch.ones(3, 3)}, "it decides by the values in a tensor"),
        (Deciding("length"), {"at": ["two"], "sample": torch.ones(3, 3)}, "use its shape\\[0\\]"),
        (Deciding("shape"), {"at": ["two"]}, "give a sample="),
    ],
)
def test_what_cannot_be_cut_is_refused_with_a_remedy(model: nn.Module, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ak.WiringError, match=message):
        split(model, **arguments)


def test_a_block_that_is_called_in_a_loop_may_stay_in_one_gate() -> None:
    gates = split(Looping(), at=["head"], sample=torch.randn(2, 3))
    assert names_of(gates) == ["block", "head"]


def test_a_module_without_parameters_may_be_used_by_several_gates() -> None:
    tanh = nn.Tanh()
    model = nn.Sequential(nn.Linear(2, 2), tanh, nn.Linear(2, 2), tanh, nn.Linear(2, 2))
    assert names_of(split(model, at=["3"], sample=torch.ones(1, 2))) == ["0", "3"]
    assert names_of(split(Reusing(), at=["two"], sample=torch.ones(1, 3))) == ["one", "two"]


def test_the_forward_may_decide_by_shapes_with_a_sample() -> None:
    assert len(split(Deciding("shape"), at=["two"], sample=torch.ones(3, 3))) == 2


def test_what_a_block_leaves_behind_for_another_is_refused() -> None:
    class Leaving(nn.Module):
        def forward(self, x: Tensor) -> Any:
            self.left = x.mean()
            return x

    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaving, self.linear = Leaving(), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Any:
            x = self.linear(self.leaving(x))
            left = self.leaving.left
            assert isinstance(left, Tensor)
            return x + left

    with pytest.raises(ak.WiringError, match="a tensor that no module held before"):
        split(Reading(), at=["linear"], sample=torch.ones(2, 3))


def test_gates_that_do_not_compute_the_same_are_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
            self.calls = 0

        def forward(self, x: Tensor) -> Any:
            self.calls += 1
            return self.two(self.one(x) * self.calls)

    with pytest.raises(ak.WiringError, match="gates one, two do not compute for the sample what the Counting does"):
        split(Counting(), at=["two"], sample=torch.ones(2, 3))


def test_so_many_gates_are_balanced_by_measured_time(caplog: pytest.LogCaptureFixture) -> None:
    widths = [8, 8, 8, 600, 600, 600]  # the last two layers take nearly all of the time
    model = nn.Sequential(*(nn.Linear(one, other) for one, other in itertools.pairwise(widths)))
    threads = torch.get_num_threads()
    with caplog.at_level(logging.INFO):
        gates = split(model, gates=2, sample=torch.randn(256, 8))
    assert names_of(gates) == ["0", "4"]
    assert "cut at ['4']; measured shares of the time:" in caplog.text
    assert torch.get_num_threads() == threads


def test_tied_ends_are_never_balanced_into_two_gates() -> None:
    with pytest.raises(ak.WiringError, match="can be cut into 1 gates at most, not 2"):
        split(Tied(), gates=2, sample=torch.randint(7, (3, 2)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.data())
def test_the_dearest_part_is_as_cheap_as_can_be(costs: list[int], data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, len(costs)))

    def dearest(cuts: Sequence[int]) -> int:
        return max(sum(costs[start:end]) for start, end in itertools.pairwise([0, *cuts, len(costs)]))

    found = evenly(costs, parts)
    assert found == sorted(set(found) & set(range(1, len(costs))))
    assert len(found) == parts - 1
    assert dearest(found) == min(dearest(cuts) for cuts in itertools.combinations(range(1, len(costs)), parts - 1))
