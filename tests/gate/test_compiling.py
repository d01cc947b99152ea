"""Compiled modules: what they compute, when they are compiled, and who may do what meanwhile."""

import gc
import threading
import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from akkordeon.gate.compiling import Compiled
from akkordeon.gate.forward import Replica, Trained
from akkordeon.gate.versions import Snapshot, Weights
from akkordeon.messages.tree import flatten
from tests.properties.numerics.test_modules import CASES

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # torch hides it itself
    pytest.mark.filterwarnings("ignore:.*script_method.* is deprecated"),  # by torch, in what it imports
]

TRACED = "aot_eager"
"""Follows forward and backward as torch's own compiler does, and needs no C++ compiler."""

KINDS = [
    *("conv2d", "batch norm 2d", "lstm, last state", "weight norm", "spectral norm", "in-place ReLU first"),
    *("frozen in part", "tied parameters", "dict with a mask", "two inputs", "sparse gradients", "no parameters"),
]


def graphs() -> int:
    """Return how many graphs were compiled so far in this process."""
    inner: Any = torch
    return int(inner._dynamo.utils.counters["stats"]["unique_graphs"])


def traced() -> Compiled:
    return Compiled(nullcontext(), TRACED)


def gradients(trained: Trained) -> list[Tensor | None]:
    found = trained.graph.gradients([torch.ones_like(y) for y in trained.graph.outputs])
    return [*found.of_weights, *found.of_inputs]


def assert_same(ours: Any, expected: Any) -> None:
    for one, other in zip(ours, expected, strict=True):
        if one is None or other is None:
            assert one is other
        else:
            assert torch.equal(one.to_dense(), other.to_dense())


@pytest.mark.parametrize("name", KINDS)
def test_a_compiled_module_computes_what_the_module_does(name: str) -> None:
    case = CASES[name]
    x = case.batches()[0][0]
    compiled, plain = (
        [Replica(module, nullcontext(), forward=traced() if each else None) for module in case.modules()]
        for each in (True, False)
    )
    weights = [Weights(module) for module in case.modules()]
    given = x
    for one, other, each in zip(compiled, plain, weights, strict=True):
        wanted = () if x is given else [leaf.is_floating_point() for leaf in flatten(x)[0]]
        for _ in range(3):
            ours, theirs = (replica.train(x, each.snapshot(), each.buffers, wanted=wanted) for replica in (one, other))
            assert_same(flatten(ours.output)[0], flatten(theirs.output)[0])
            assert_same(ours.buffers.values(), theirs.buffers.values())
            assert_same(gradients(ours), gradients(theirs))
        evaluated = (replica.evaluate(x, each.snapshot(), each.buffers) for replica in (one, other))
        assert_same(*(flatten(output)[0] for output in evaluated))
        x = theirs.output


def test_a_new_version_is_computed_with_the_code_there_is_and_an_old_one_is_not_kept() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    replica, weights = Replica(module, nullcontext(), forward=traced()), Weights(module)
    step = torch.optim.SGD(list(weights.live), lr=0.1).step
    x = torch.randn(5, 3)

    def update() -> "weakref.ref[Tensor]":
        snapshot: Snapshot = weights.snapshot()
        trained = replica.train(x, snapshot, {}, wanted=(True,))
        weights.set_gradients(trained.graph.gradients([torch.ones(5, 2)]).of_weights)
        step()
        weights.begin_version()
        return weakref.ref(snapshot.tensors[0])

    old = [update(), update()]
    before = graphs()
    old += [update() for _ in range(5)]
    assert graphs() == before
    gc.collect()
    replica.train(x, weights.snapshot(), {}, wanted=(True,))  # the slots hold the latest until then
    assert [each() for each in old] == [None] * 7


def test_a_module_is_compiled_for_each_mode_and_for_other_shapes_once() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    replica, weights = Replica(module, nullcontext(), forward=traced()), Weights(module)
    begin = graphs()
    for size in (4, 5, 6, 7, 6):
        replica.train(torch.randn(size, 3), weights.snapshot(), {}, wanted=(True,))
    for _ in range(2):
        replica.evaluate(torch.randn(4, 3), weights.snapshot(), {})
    assert graphs() - begin == 3  # for one size, for any size, and for evaluation


def test_many_modules_of_one_class_are_all_compiled() -> None:
    begin = graphs()
    for width in range(2, 14):  # torch compiles one piece of code 8 times, then runs it as it is
        traced()(nn.Sequential(nn.Linear(width, 1)), torch.zeros(width))
    assert graphs() - begin == 12


def test_modules_that_are_alike_are_compiled_once() -> None:
    begin, compiled, x = graphs(), traced(), torch.randn(2, 3)
    for _ in range(3):
        module = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.0))
        assert torch.equal(compiled(module, x), module(x))
    assert graphs() - begin == 1


def test_a_forward_run_again_draws_the_same_random_numbers() -> None:
    module = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5))
    replica = Replica(module, nullcontext(), records=True, forward=traced())
    weights, x = Weights(module), torch.randn(2, 3)
    for _ in range(3):
        trained = replica.train(x, weights.snapshot(), {}, wanted=(True,))
        assert trained.drew is not None
        torch.rand(7)
        again = replica.train(x, weights.snapshot(), {}, wanted=(True,), replay=trained.drew)
        assert torch.equal(again.output, trained.output)
        assert_same(gradients(again), gradients(trained))


def test_threads_that_compile_and_run_at_once_get_right_results_and_leave_random_numbers_alone() -> None:
    lock = threading.RLock()
    wrong: list[object] = []

    def work(module: nn.Module) -> None:
        compiled = Compiled(lock, TRACED)
        try:
            for size in (1, 2, 5, *range(2, 40)):
                x = torch.ones(size, 3)
                if not torch.equal(compiled(module, x), module(x)):
                    wrong.append(size)
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    modules = [nn.Sequential(nn.Linear(3, width), nn.Tanh()) for width in (2, 3, 4, 5)]
    threads = [threading.Thread(target=work, args=(module,)) for module in modules]
    torch.manual_seed(3)
    expected = [torch.rand(1) for _ in range(2000)]
    torch.manual_seed(3)
    drawn: list[Tensor] = []
    for thread in threads:
        thread.start()
    while len(drawn) < len(expected):
        with lock:
            drawn.append(torch.rand(1))
    for thread in threads:
        thread.join()
    assert not wrong
    assert_same(drawn, expected)


def test_without_a_cpp_compiler_the_error_says_what_to_do() -> None:
    compiled = Compiled(nullcontext(), "inductor")
    inner: Any = torch
    compiled(nn.Tanh(), torch.zeros(0))  # nothing to compute: imports the compiler alone
    without = inner._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with without, pytest.raises(RuntimeError, match=r"could not be compiled: .*Install a C\+\+ compiler such as g\+\+"):
        compiled(nn.Tanh(), torch.zeros(3))
