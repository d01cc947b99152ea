"""Forward and backward as pure functions of frozen weights."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

from akkordeon.gate.backward import Graph
from akkordeon.gate.forward import Replica, Trained
from akkordeon.gate.random_state import RandomNumbers, RandomState
from akkordeon.gate.versions import Weights
from akkordeon.messages.tree import flatten


def floats(x: Any) -> list[bool]:
    return [leaf.is_floating_point() for leaf in flatten(x)[0]]


class Lock(AbstractContextManager[object]):
    """Counts how often it was held."""

    def __init__(self) -> None:
        self.held = 0

    def __enter__(self) -> Self:
        self.held += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Bench:
    """A module with its weights and one replica."""

    def __init__(self, module: nn.Module, *, records: bool = False) -> None:
        self.module = module
        self.lock = Lock()
        self.weights = Weights(module)
        self.replica = Replica(module, self.lock, records=records)

    def train(self, x: Any, *, wants_gradient: bool = True, replay: RandomNumbers | None = None) -> Trained:
        snapshot, buffers = self.weights.snapshot(), self.weights.buffers
        return self.replica.train(x, snapshot, buffers, wanted=floats(x) if wants_gradient else (), replay=replay)

    def evaluate(self, x: Any) -> Any:
        return self.replica.evaluate(x, self.weights.snapshot(), self.weights.buffers)


class Recorder(nn.Module):
    """Remembers where the input was that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.places.append(x.data_ptr())
        return x * 2


class Moody(nn.Module):
    """Writes into its input from the second batch on."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.mul_(2) if self.calls > 1 else x * 2


class Tally(nn.Module):
    """Counts its batches in a buffer, in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("batches", torch.tensor(0.0))
        self.batches: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.batches += 1
        return x + self.batches


class Words(nn.Module):
    """Takes a dictionary with integers, returns a tuple with an unused leaf and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: dict[str, Any]) -> tuple[Any, ...]:
        return self.table(x["words"]) * x["scale"], x["words"], "constant"


# Forward


def update(weights: Weights, gradients: Sequence[Tensor | None]) -> None:
    weights.set_gradients(gradients)
    torch.optim.SGD(weights.live, lr=1.0).step()
    weights.begin_version()


def test_a_forward_computes_with_the_weights_it_is_given() -> None:
    bench = Bench(nn.Linear(3, 2))
    old = bench.weights.snapshot()
    x = torch.randn(4, 3)
    expected = nn.functional.linear(x, *old.tensors)
    update(bench.weights, [torch.ones(2, 3), torch.ones(2)])
    assert torch.equal(bench.replica.train(x, old, {}, wanted=()).output, expected)
    assert not torch.equal(bench.train(x).output, expected)


def test_an_output_has_no_graph_and_what_was_received_stays_as_it_was() -> None:
    bench = Bench(nn.Linear(3, 2))
    x = torch.randn(4, 3)
    trained = bench.train(x)
    assert not trained.output.requires_grad
    assert not x.requires_grad
    assert trained.graph.outputs[0].requires_grad


def test_a_parameter_held_in_two_places_is_filled_in_both() -> None:
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    module[1].weight = module[0].weight
    bench = Bench(module)
    trained = bench.train(torch.randn(4, 3))
    weight = bench.weights.snapshot().tensors[0]
    assert torch.equal(trained.output, trained.graph.inputs[0].detach() @ weight.detach().T @ weight.detach().T)
    (gradient,) = trained.graph.gradients([torch.ones(4, 3)]).of_weights
    assert gradient is not None
    (expected,) = torch.autograd.grad((trained.graph.inputs[0].detach() @ weight.T @ weight.T).sum(), weight)
    assert torch.allclose(gradient, expected)


def test_the_mode_belongs_to_the_message() -> None:
    bench = Bench(nn.Dropout(0.5))
    x = torch.ones(200)
    for _ in range(2):
        assert torch.equal(bench.evaluate(x), x)
        assert not torch.equal(bench.train(x).output, x)


# Gradients


def test_gradients_are_those_of_autograd_and_accumulate_nowhere() -> None:
    bench = Bench(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    x, of_output = torch.randn(5, 3), torch.randn(5, 2)
    graph = bench.train(x).graph
    found = graph.gradients([of_output])
    leaf = x.clone().requires_grad_()
    slots: dict[str, Tensor] = dict(zip(bench.weights.names, bench.weights.live, strict=True))
    output = torch.func.functional_call(bench.module, slots, (leaf,))
    *of_weights, of_input = torch.autograd.grad(output, [*bench.weights.live, leaf], of_output)
    assert all(map(torch.equal, found.of_weights, of_weights))  # type: ignore[arg-type]
    assert found.of_inputs[0] is not None
    assert torch.equal(found.of_inputs[0], of_input)
    assert found.finite
    assert all(tensor.grad is None for tensor in (*bench.weights.live, *graph.inputs, *graph.snapshot.tensors))


def test_the_first_gate_computes_no_gradient_of_the_data() -> None:
    graph = Bench(nn.Linear(3, 2)).train(torch.randn(4, 3), wants_gradient=False).graph
    found = graph.gradients([torch.ones(4, 2)])
    assert found.of_inputs == (None,)
    assert all(gradient is not None for gradient in found.of_weights)


def test_integers_unused_weights_and_missing_gradients_have_none() -> None:
    bench = Bench(Words())
    trained = bench.train({"words": torch.tensor([1, 2]), "scale": torch.ones(2, 4), "text": "x"})
    assert trained.output[2] == "constant"
    found = trained.graph.gradients([torch.ones(2, 4), None])
    named = dict(zip(bench.weights.names, found.of_weights, strict=True))
    assert named["table.weight"] is not None
    assert named["unused.weight"] is named["unused.bias"] is None
    assert found.of_inputs[0] is None
    assert found.of_inputs[1] is not None


def test_without_any_gradient_of_an_output_there_is_none_of_anything() -> None:
    found = Bench(nn.Linear(3, 2)).train(torch.randn(4, 3)).graph.gradients([None])
    assert found.of_weights == [None, None]
    assert found.of_inputs == (None,)
    assert found.finite


def test_a_frozen_module_passes_the_gradient_on() -> None:
    found = Bench(nn.Linear(3, 2).requires_grad_(False)).train(torch.randn(4, 3)).graph.gradients([torch.ones(4, 2)])
    assert found.of_weights == []
    assert found.of_inputs[0] is not None


def test_a_module_that_returns_its_input_passes_the_gradient_on() -> None:
    bench = Bench(nn.Identity())
    for _ in range(2):  # a probe, and then as usual
        found = bench.train(torch.randn(4, 3)).graph.gradients([torch.full((4, 3), 5.0)])
        assert found.of_inputs[0] is not None
        assert torch.equal(found.of_inputs[0], torch.full((4, 3), 5.0))


class Shift(nn.Module):
    """Its weights' gradients are, in autograd, the very tensor that comes from downstream."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.zeros(3))
        self.other = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.one + self.other


def test_gradients_of_weights_may_be_written_into() -> None:
    of_output = torch.arange(3.0)
    found = Bench(Shift()).train(torch.zeros(3)).graph.gradients([of_output])
    for gradient in found.of_weights:
        assert gradient is not None
        assert torch.equal(gradient, torch.arange(3.0))
        gradient.add_(7)
    assert found.of_inputs[0] is not None
    assert torch.equal(found.of_inputs[0], torch.arange(3.0))
    assert torch.equal(of_output, torch.arange(3.0))


def test_gradients_that_are_not_finite_are_noticed() -> None:
    graph = Bench(nn.Linear(3, 2)).train(torch.randn(4, 3)).graph
    assert not graph.gradients([torch.full((4, 2), float("inf"))]).finite


def test_a_gradient_of_the_wrong_shape_is_refused() -> None:
    graph = Bench(nn.Linear(3, 2)).train(torch.randn(4, 3)).graph
    with pytest.raises(ValueError, match=r"a gradient of shape \(2, 4\) came for an output of \(4, 2\)"):
        graph.gradients([torch.ones(2, 4)])


def test_an_update_in_between_does_not_reach_a_batch_in_flight() -> None:
    bench = Bench(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    x = torch.randn(5, 3)
    expected = bench.train(x).graph.gradients([torch.ones(5, 2)])
    graph = bench.train(x).graph
    gradients = [torch.ones_like(tensor) for tensor in bench.weights.trainable]
    update(bench.weights, gradients)
    bench.train(x)
    late = graph.gradients([torch.ones(5, 2)])
    assert all(map(torch.equal, late.of_weights, expected.of_weights))  # type: ignore[arg-type]


# Writing into the input


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_a_module_that_writes_into_its_input_never_reaches_what_was_received(batches: int) -> None:
    bench = Bench(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)))
    for _ in range(batches):
        x = torch.randn(4, 3)
        before = x.clone()
        graph = bench.train(x).graph
        bench.evaluate(x)
        assert torch.equal(x, before)
        of_input = graph.gradients([torch.ones(4, 2)]).of_inputs[0]
        assert of_input is not None
        weight = bench.weights.snapshot().tensors[0]
        assert torch.allclose(of_input, (x > 0) * weight.detach().sum(0))


def test_a_module_that_does_not_write_gets_what_was_received_from_its_second_batch_on() -> None:
    module = Recorder()
    bench = Bench(module)
    x = torch.randn(4)
    for _ in range(3):
        bench.train(x)
    bench.evaluate(x)
    bench.evaluate(x)
    assert [place == x.data_ptr() for place in module.places] == [False, True, True, False, True]


def test_a_module_that_writes_into_its_input_only_later_is_an_error_with_the_remedy() -> None:
    bench = Bench(Moody())
    bench.train(torch.ones(3), wants_gradient=False)
    with pytest.raises(RuntimeError, match="wrote into its input, which it did not do at its first batch; clone it"):
        bench.train(torch.ones(3), wants_gradient=False)


def test_a_first_batch_that_fails_leaves_the_probe_to_the_next_one() -> None:
    bench = Bench(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)))
    with pytest.raises(RuntimeError):
        bench.train(torch.randn(4, 7))
    x = -torch.ones(4, 3)
    bench.train(x)
    assert torch.equal(x, -torch.ones(4, 3))


# Buffers


def test_training_yields_its_own_buffers_and_leaves_those_given() -> None:
    bench = Bench(nn.BatchNorm1d(3))
    trained = bench.train(torch.randn(8, 3) + 5)
    assert torch.equal(bench.weights.buffers["running_mean"], torch.zeros(3))
    assert bool((trained.buffers["running_mean"] > 0.3).all())
    assert trained.buffers["num_batches_tracked"].item() == 1
    assert bench.train(torch.randn(8, 3)).buffers["num_batches_tracked"].item() == 1


def test_buffers_written_in_evaluation_are_thrown_away() -> None:
    bench = Bench(Tally())
    assert [bench.evaluate(torch.zeros(1)).item() for _ in range(3)] == [1.0, 1.0, 1.0]
    assert bench.weights.buffers["batches"].item() == 0
    assert bench.train(torch.zeros(1)).buffers["batches"].item() == 1


def test_evaluation_uses_the_buffers_as_they_stand() -> None:
    bench = Bench(nn.BatchNorm1d(3))
    given = bench.weights.buffers
    bench.weights.publish(given, bench.train(torch.randn(8, 3) + 5).buffers)
    x = torch.randn(8, 3)
    expected = nn.BatchNorm1d(3).eval()
    expected.load_state_dict(bench.weights.state())
    assert torch.equal(bench.evaluate(x), expected(x))


# Random numbers


def test_a_module_that_draws_holds_the_lock_over_each_forward_and_others_once_to_find_out() -> None:
    drawing, plain = Bench(nn.Dropout(0.5)), Bench(nn.Linear(3, 2))
    for _ in range(4):
        drawing.train(torch.randn(2, 3))
        plain.train(torch.randn(2, 3))
    assert (drawing.lock.held, plain.lock.held) == (4, 1)


def test_whether_a_module_draws_is_told_apart_by_mode() -> None:
    bench = Bench(nn.Dropout(0.5))
    for _ in range(4):
        bench.evaluate(torch.randn(2, 3))
    assert bench.lock.held == 1
    bench.train(torch.randn(2, 3))
    bench.train(torch.randn(2, 3))
    assert bench.lock.held == 3


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_forward_run_again_draws_the_same_random_numbers(batch: int) -> None:
    bench = Bench(nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 2)), records=True)
    x = torch.randn(4, 50)
    for _ in range(batch):
        trained = bench.train(x)
    assert trained.drew is not None
    torch.rand(7)
    again = bench.train(x, replay=trained.drew)
    assert torch.equal(again.output, trained.output)
    assert not torch.equal(bench.train(x).output, trained.output)


def test_running_a_forward_again_leaves_the_generator_where_it_was() -> None:
    bench = Bench(nn.Dropout(0.5), records=True)
    trained = bench.train(torch.ones(9))
    before = torch.get_rng_state()
    bench.train(torch.ones(9), replay=trained.drew)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_forward_that_fails_when_run_again_leaves_the_generator_where_it_was() -> None:
    bench = Bench(nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)), records=True)
    trained = bench.train(torch.ones(2, 3))
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError):
        bench.train(torch.ones(2, 4), replay=trained.drew)
    assert torch.equal(torch.get_rng_state(), before)


class Restless(nn.Module):
    """Draws more random numbers each time."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + torch.rand(self.calls)[0]


def test_a_forward_that_draws_otherwise_when_run_again_is_an_error_with_the_remedy() -> None:
    bench = Bench(Restless(), records=True)
    trained = bench.train(torch.ones(2))
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r"cannot be recomputed with the random numbers it drew.*use activations="):
        bench.train(torch.ones(2), replay=trained.drew)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("records", [True, False])
def test_looking_for_random_numbers_draws_none(records: bool) -> None:
    bench = Bench(nn.Linear(3, 2), records=records)
    before = torch.get_rng_state()
    assert [bench.train(torch.ones(1, 3)).drew for _ in range(3)] == [None, None, None]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_random_state_knows_whether_something_was_drawn() -> None:
    before = RandomState(None)
    assert before.same_as(RandomState(None))
    first = torch.rand(3)
    assert not before.same_as(RandomState(None))
    before.restore()
    assert torch.equal(torch.rand(3), first)


def test_a_graph_needs_no_replica_any_more() -> None:
    module = nn.Linear(3, 2)
    replica = Replica(module, nullcontext())
    weights = Weights(module)
    graphs: list[Graph] = [
        replica.train(torch.full((1, 3), float(number)), weights.snapshot(), {}, wanted=(True,)).graph
        for number in range(3)
    ]
    for number, graph in reversed(list(enumerate(graphs))):
        of_weight = graph.gradients([torch.ones(1, 2)]).of_weights[0]
        assert of_weight is not None
        assert torch.equal(of_weight, torch.full((2, 3), float(number)))
