"""Accumulation, clipping and autocast of gates equal what a plain loop does, one batch in flight."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.testing import crash
from tests.properties.numerics.loops import Batches, assert_same, cross_entropy, one_thread, train_as_network

Modules = dict[str, nn.Module]
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def batches(amount: int = 12) -> Batches:
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randn(6, 8, generator=generator) for _ in range(amount)]
    return [(x, x[:, :4].argmax(dim=1)) for x in inputs]


def dense() -> Modules:
    torch.manual_seed(2)
    return {
        "stem": nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU()),
        "body": nn.Sequential(nn.Linear(16, 8), nn.Tanh()),
        "head": nn.Linear(8, 4),
    }


class Choosing(nn.Module):
    """Leaves one of its branches without a gradient, each in its turn."""

    turn: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.always = nn.Linear(8, 8)
        self.never = nn.Linear(8, 8)
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.branches[int(self.turn) % 3]
        self.turn += 1
        y: Tensor = self.always(x) + chosen(x)
        return y.tanh()


class TwoOffsets(nn.Module):
    """Its two parameters have one and the same tensor as their gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.one + self.other)


def chosen() -> Modules:
    torch.manual_seed(2)
    return {"choose": Choosing(), "offsets": TwoOffsets(), "head": nn.Linear(8, 4)}


def embedded() -> Modules:
    torch.manual_seed(2)
    bag = nn.EmbeddingBag(20, 8, sparse=True)
    return {"words": bag, "head": nn.Linear(8, 4)}


def words() -> Batches:
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.randint(20, (6, 3), generator=generator) for _ in range(12)]
    return [(x, x[:, 0] % 4) for x in inputs]


def as_gates(modules: Modules, optimizer: MakeOptimizer, **settings: Any) -> list[ak.Gate]:
    return [ak.Gate(name, module, optimizer, **settings) for name, module in modules.items()]


def plainly(
    modules: Modules,
    make: MakeOptimizer,
    data: Batches,
    *,
    epochs: int = 1,
    accumulate: int = 1,
    remainder: str = "apply",
    max_norm: float | None = None,
    forward: Callable[[nn.Module, Tensor], Tensor] | None = None,
) -> nn.Sequential:
    """Train with what every tutorial shows: the loss divided, gradients added up, and clipped gate by gate."""
    model = nn.Sequential(*modules.values()).train()
    optimizers = [make(list(module.parameters())) for module in modules.values()]
    with one_thread():
        for group in groups([*data], epochs, accumulate, remainder):
            for x, target in group:
                loss = cross_entropy(forward(model, x) if forward else model(x), target) / len(group)
                torch.autograd.backward(loss)
            for module, optimizer in zip(modules.values(), optimizers, strict=True):
                if max_norm is not None:
                    clip_grad_norm_(module.parameters(), max_norm)
                if len(group) == accumulate or remainder == "apply":
                    optimizer.step()
                optimizer.zero_grad()
    return model


def groups(data: list[tuple[Any, Tensor]], epochs: int, amount: int, remainder: str) -> list[Batches]:
    """The batches of each update; of those that are left over in the end, too."""
    passes = [data * epochs] if remainder == "keep" else [data] * epochs
    return [each[start : start + amount] for each in passes for start in range(0, len(each), amount)]


sgd: MakeOptimizer = partial(SGD, lr=0.1, momentum=0.9)
adamw: MakeOptimizer = partial(AdamW, lr=0.01)


@pytest.mark.parametrize("optimizer", [sgd, adamw], ids=["sgd", "adamw"])
@pytest.mark.parametrize("amount", [2, 4])
@pytest.mark.parametrize("remainder", ["apply", "keep"])
@pytest.mark.parametrize(("make", "data"), [(dense, batches(10)), (chosen, batches(14))], ids=["dense", "chosen"])
def test_accumulation_by_a_power_of_two_equals_the_plain_loop(
    make: Callable[[], Modules], data: Batches, remainder: Any, amount: int, optimizer: MakeOptimizer, engine: Engine
) -> None:
    """Ten and fourteen batches: with four per update, two are left over at the end of each epoch."""
    gates = as_gates(make(), optimizer, accumulate=amount, remainder=remainder)
    trained = train_as_network(gates, engine, data, epochs=3)
    plain = plainly(make(), optimizer, data, epochs=3, accumulate=amount, remainder=remainder)
    assert_same(trained.model, plain)
    updates = {"apply": 3 * -(-len(data) // amount), "keep": 3 * len(data) // amount}
    assert {gate.version for gate in trained.gates} == {updates[remainder]}


def test_a_remainder_that_is_dropped_is_counted_at_the_gate_and_in_the_report(engine: Engine) -> None:
    with ak.launch(as_gates(dense(), sgd, accumulate=4, remainder="drop"), engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", partial(batches, 6), cross_entropy, epochs=2))
        reports = list(network.watch())
        status, model = network.status(), network.model()
    lost = {f"remainder of 2 batches at {gate}": 1 for gate in ("stem", "body", "head")}
    assert [(report.skipped, report.complete, report.samples) for report in reports] == [(lost, True, 36)] * 2
    assert [(gate.version, gate.skipped) for gate in status.gates] == [(2, {"remainder of 2 batches": 2})] * 3
    plain = plainly(dense(), sgd, batches(6), epochs=2, accumulate=4, remainder="drop")
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_batches_are_counted_without_the_ends_of_epochs(engine: Engine) -> None:
    with ak.launch(as_gates(dense(), sgd, accumulate=4), engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", partial(batches, 6), cross_entropy, epochs=3))
        for report in network.watch():
            assert report.samples == 36
            if report.epoch == 2:
                done = next((each.done for each in network.status().sentinels), 12)
                assert 12 <= done <= 18
        assert all(gate.open == 0 for gate in network.status().gates)


@pytest.mark.parametrize("in_flight", [2, 5])
def test_with_several_in_flight_an_epoch_still_ends_with_an_update(in_flight: int, engine: Engine) -> None:
    with ak.launch(as_gates(dense(), sgd, accumulate=64), engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", batches, cross_entropy, epochs=2, in_flight=in_flight))
        assert [report.samples for report in network.watch()] == [72, 72]
        assert {gate.version for gate in network.status().gates} == {2}


def test_a_gate_that_ends_does_not_lose_the_end_of_an_epoch(engine: Engine) -> None:
    at_once = ak.Supervision(restarts=1000, backoff=(0.0,), copy_every=1, copy_share=1.0)
    with ak.launch(as_gates(dense(), sgd, accumulate=64), engine=engine, supervision=at_once) as network:
        network.attach(ak.TrainingSentinel("train", partial(batches, 4), cross_entropy, epochs=60, in_flight=2))
        reports = network.watch()
        for gate in ("stem", "body", "head"):
            next(reports)
            crash(network, gate)
        assert len(list(reports)) == 57
        assert network.status().restarts == 3
        assert all(57 <= gate.version <= 61 for gate in network.status().gates)


@pytest.mark.parametrize("amount", [3, 5])
def test_accumulation_by_other_numbers_is_as_close_as_rounding(amount: int, engine: Engine) -> None:
    trained = train_as_network(as_gates(dense(), sgd, accumulate=amount), engine, batches(), epochs=2)
    plain = plainly(dense(), sgd, batches(), epochs=2, accumulate=amount)
    for ours, theirs in zip(trained.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_sparse_gradients_are_accumulated(engine: Engine) -> None:
    make: MakeOptimizer = partial(SGD, lr=0.5)
    trained = train_as_network(as_gates(embedded(), make, accumulate=2), engine, words(), epochs=2)
    plain = plainly(embedded(), make, words(), epochs=2, accumulate=2)
    for ours, theirs in zip(trained.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_gate_that_keeps_what_waits_and_never_had_enough_batches_stays_as_it_was(engine: Engine) -> None:
    trained = train_as_network(as_gates(dense(), sgd, accumulate=13, remainder="keep"), engine, batches())
    assert {gate.version for gate in trained.gates} == {0}
    for ours, theirs in zip(trained.model.parameters(), nn.Sequential(*dense().values()).parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_gates_may_accumulate_differently(engine: Engine) -> None:
    gates = [ak.Gate(name, each, sgd, accumulate=n) for n, (name, each) in enumerate(dense().items(), 1)]
    trained = train_as_network(gates, engine, batches(), epochs=1)
    assert [gate.version for gate in trained.gates] == [12, 6, 4]


@pytest.mark.parametrize("max_norm", [0.01, 0.3, 1e9])
@pytest.mark.parametrize("make", [dense, chosen])
def test_clipping_equals_that_of_a_plain_loop_gate_by_gate(
    make: Callable[[], Modules], max_norm: float, engine: Engine
) -> None:
    trained = train_as_network(as_gates(make(), sgd, max_norm=max_norm), engine, batches(), epochs=2)
    assert_same(trained.model, plainly(make(), sgd, batches(), epochs=2, max_norm=max_norm))


def test_clipping_is_by_the_norm_of_the_mean_where_gradients_are_accumulated(engine: Engine) -> None:
    trained = train_as_network(as_gates(dense(), sgd, max_norm=0.1, accumulate=4), engine, batches(), epochs=2)
    assert_same(trained.model, plainly(dense(), sgd, batches(), epochs=2, max_norm=0.1, accumulate=4))


def test_no_update_is_longer_than_the_norm_it_is_clipped_to(engine: Engine) -> None:
    before = [p.detach().clone() for p in dense()["head"].parameters()]
    trained = train_as_network(
        as_gates(dense(), partial(SGD, lr=1.0), max_norm=0.25),
        engine,
        batches(1),
        loss=lambda y, t: 100 * cross_entropy(y, t),
    )
    steps = [a.detach() - b for a, b in zip(trained.model[2].parameters(), before, strict=True)]
    assert torch.cat([step.flatten() for step in steps]).norm().item() == pytest.approx(0.25, rel=1e-4)


def in_bfloat16(model: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        y: Tensor = model(x)
    return y.float()


def narrow() -> Modules:
    """Each gate begins with what autocast computes in bfloat16, so a boundary in float32 loses and adds nothing."""
    torch.manual_seed(2)
    return {
        "stem": nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 16), nn.ReLU()),
        "body": nn.Sequential(nn.Linear(16, 8), nn.Tanh()),
        "head": nn.Linear(8, 4),
    }


@pytest.mark.parametrize("activations", ["stashed", "recomputed"])
def test_autocast_of_all_gates_equals_that_of_the_uncut_model(activations: Any, engine: Engine) -> None:
    gates = as_gates(narrow(), sgd, autocast=torch.bfloat16, activations=activations)
    trained = train_as_network(gates, engine, batches(), epochs=3)
    plain = plainly(narrow(), sgd, batches(), epochs=3, forward=in_bfloat16)
    assert_same(trained.model, plain)
    whole = plainly(narrow(), sgd, batches(), epochs=3)
    assert not torch.equal(trained.model.get_parameter("stem.0.weight"), whole.get_parameter("0.0.weight"))
    plain.eval()
    with torch.no_grad(), one_thread():
        expected = [in_bfloat16(plain, x) for x, _ in batches()]
    assert all(map(torch.equal, trained.outputs, expected))  # evaluation is in bfloat16, too
    assert {output.dtype for output in trained.outputs} == {torch.float32}


def piece_by_piece(cast: Sequence[bool], model: nn.Module, x: Tensor) -> Tensor:
    for part, casts in zip(model.children(), cast, strict=True):
        x = in_bfloat16(part, x) if casts else part(x)
    return x


@pytest.mark.parametrize("cast", [(True, False, True), (False, True, False), (False, False, True)], ids=str)
def test_gates_with_and_without_autocast_work_together(cast: tuple[bool, ...], engine: Engine) -> None:
    """A gate that begins in the middle of things (BatchNorm, Tanh) is given float32, as the plain loop does here."""
    kinds = [torch.bfloat16 if each else None for each in cast]
    gates = [ak.Gate(n, m, sgd, autocast=kind) for (n, m), kind in zip(dense().items(), kinds, strict=True)]
    beside = ak.ValidationSentinel("validation", batches, cross_entropy)
    trained = train_as_network(gates, engine, batches(), epochs=2, beside=[beside])
    assert_same(trained.model, plainly(dense(), sgd, batches(), epochs=2, forward=partial(piece_by_piece, cast)))
    assert len(trained.others) == 1


def test_weights_statistics_and_gradients_stay_in_float32(engine: Engine) -> None:
    gates = as_gates(dense(), sgd, autocast=torch.bfloat16)
    trained = train_as_network(gates, engine, batches())
    tensors = [*trained.model.parameters(), *trained.model.buffers()]
    assert {each.dtype for each in tensors} == {torch.float32, torch.int64}
