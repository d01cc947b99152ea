"""What `akkordeon.tensors` relies on in torch without being promised: one test for each."""

import copy
import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR, StepLR
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.checkpoint import checkpoint

from akkordeon import WiringError, tensors
from akkordeon.gate import internals


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def with_gradients() -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.tensor(each)) for each in ([1.0, -2.0], [0.5])]
    for parameter in parameters:
        parameter.grad = parameter.detach().clone() * 0.3
    return parameters


def test_differentiate_is_autograd_grad_bit_for_bit() -> None:
    module, x = network(), torch.randn(5, 4, requires_grad=True)
    unused = torch.zeros(2, requires_grad=True)
    outputs, inputs = [module(x), (x * x).sum()], [*module.parameters(), x, unused]
    given = [torch.randn(5, 2), torch.tensor(2.0)]
    expected = torch.autograd.grad(outputs, inputs, given, allow_unused=True, retain_graph=True)
    found = tensors.differentiate(outputs, inputs, given)
    assert found[-1] is None
    assert all(a is b if a is None or b is None else torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(each.grad is None for each in inputs)


def test_differentiate_refuses_a_gradient_of_another_shape() -> None:
    x = torch.zeros(3, requires_grad=True)
    with pytest.raises(ValueError, match=r"a gradient of shape \(2,\) came for an output of \(3,\)"):
        tensors.differentiate([x * 2], [x], [torch.zeros(2)])


@pytest.mark.parametrize("make", [SGD, Adam])
def test_a_step_without_the_wrapper_is_the_same_step(make: Any) -> None:
    plain, ours = with_gradients(), with_gradients()
    make(plain, lr=0.1).step()
    optimizer = make(ours, lr=0.1)
    assert type(optimizer).step.hooked
    tensors.optimizer_step(optimizer)
    assert all(map(torch.equal, plain, ours))


def test_every_kind_of_hook_and_a_scheduler_see_each_step() -> None:
    calls: list[str] = []
    optimizer = SGD(with_gradients(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    tensors.optimizer_step(optimizer)
    optimizer = SGD(with_gradients(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    tensors.optimizer_step(optimizer)
    optimizer = SGD(with_gradients(), lr=0.1)
    handles = [
        register_optimizer_step_pre_hook(lambda *_: calls.append("before any")),
        register_optimizer_step_post_hook(lambda *_: calls.append("after any")),
    ]
    tensors.optimizer_step(optimizer)
    for handle in handles:
        handle.remove()
    assert calls == ["before", "after", "before any", "after any"]
    scheduler = StepLR(optimizer, 1)
    tensors.optimizer_step(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a scheduler warns if it has seen no step
        scheduler.step()


def test_a_profiler_sees_each_step() -> None:
    optimizer = SGD(with_gradients(), lr=0.1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        tensors.optimizer_step(optimizer)
    assert any("Optimizer.step#SGD.step" in event.key for event in profile.key_averages())


def test_calls_on_many_tensors_are_the_calls_on_each() -> None:
    these, those = [torch.randn(3), torch.randn(2, 2)], [torch.randn(3), torch.randn(2, 2)]
    assert all(map(torch.equal, tensors.clones(these), these))
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(tensors.clones(these), these, strict=True))
    differences = [a - b for a, b in zip(these, those, strict=True)]
    assert all(map(torch.equal, tensors.differences(these, those), differences))
    norms = [each.norm() for each in these]
    assert all(map(torch.allclose, tensors.norms(these), norms))


def test_a_module_computes_with_the_tensors_in_its_slots() -> None:
    module, x = network().eval(), torch.randn(5, 4)
    other = copy.deepcopy(module)
    for tensor in (*other.parameters(), *other.buffers()):
        tensor.detach().add_(1)
    parameters, buffers = list(other.parameters()), dict(other.named_buffers())
    for dictionary, name, index in internals.parameter_slots(module):
        dictionary[name] = parameters[index].detach()
    for dictionary, name, whole in internals.buffer_slots(module):
        dictionary[name] = buffers[whole]
    assert torch.equal(module(x), other(x))


def test_a_parameter_in_two_places_has_two_slots() -> None:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    module[1].weight = module[0].weight
    assert [index for _, _, index in internals.parameter_slots(module)] == [0, 0]


def test_hooks_on_gradients_are_seen() -> None:
    def hook(_: Tensor) -> None:
        raise AssertionError

    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    parameters[1].register_hook(hook)  # type: ignore[no-untyped-call]
    parameters[2].register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    assert [tensors.has_gradient_hook(each) for each in parameters] == [False, True, True]


def test_a_scheduler_says_what_it_is_made_of_and_its_last_rates_can_be_set() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    parts = [LinearLR(optimizer), ConstantLR(optimizer)]
    assert list(tensors.parts_of(SequentialLR(optimizer, [*parts], [2]))) == parts
    assert list(tensors.parts_of(parts[0])) == []
    tensors.set_last_rates(parts[0], [0.7])
    assert parts[0].get_last_lr() == [0.7]


def test_a_write_in_place_is_counted_on_the_tensor() -> None:
    tensor = torch.zeros(2)
    before = tensor._version
    tensor + 1
    assert tensor._version == before
    tensor[0] = 1.0
    assert tensor._version > before


def test_the_backward_is_compiled_together_with_the_forward() -> None:
    made: list[int] = []

    def compiler(graph: Any, _: Any) -> Any:
        made.append(threading.get_ident())
        return make_boxed_func(graph.forward)

    from functorch.compile import make_boxed_func  # type: ignore[import-untyped] # noqa: PLC0415 - slow to import
    from torch._dynamo.backends.common import aot_autograd  # noqa: PLC0415 - likewise

    backend = aot_autograd(fw_compiler=compiler, bw_compiler=compiler)
    run = torch.compile(nn.Linear(2, 2), backend=backend)
    with tensors.compile_backward_at_once():
        output = run(torch.randn(3, 2))
    assert len(made) == 2
    output.sum().backward()
    assert len(made) == 2


def test_the_error_of_a_compiler_that_fails_is_known() -> None:
    def compiler(*_: Any) -> Any:
        raise OSError("no C++ compiler")

    run = torch.compile(nn.Linear(2, 2), backend=compiler)
    with pytest.raises(tensors.compiler_failed(), match="no C\\+\\+ compiler"):
        run(torch.randn(3, 2))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_is_noticed_on_its_own_thread_alone(reentrant: bool) -> None:
    internals.noted.checkpoint = internals.noted.reentrant = False
    x = torch.randn(3, requires_grad=True)
    other = threading.Thread(target=partial(checkpoint, torch.sin, x, use_reentrant=False))
    other.start()
    other.join()
    assert not internals.noted.checkpoint
    checkpoint(torch.sin, x, use_reentrant=reentrant)
    assert internals.noted.checkpoint
    assert internals.noted.reentrant is reentrant


def forked() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)


def along() -> None:
    torch.func.jvp(torch.sin, (torch.ones(2),), (torch.ones(2),))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("use", [torch.get_rng_state, partial(torch.manual_seed, 1), forked, along])
def test_what_torch_keeps_once_per_process_is_noted(use: Callable[[], object]) -> None:
    internals.noted.shared = False
    torch.sin(torch.ones(2))
    torch.rand(1)  # locked by torch for this one call
    assert not internals.noted.shared
    use()
    assert internals.noted.shared


def test_the_cache_of_parametrizations_is_noted() -> None:
    before = internals.parametrization_cache()
    assert internals.parametrization_cache() is before
    with parametrize.cached():
        pass
    assert internals.parametrization_cache() is not before


def test_the_random_generator_can_be_read_by_many_threads_at_once() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)

    def read() -> None:
        for _ in range(2_000):
            torch.set_rng_state(torch.get_rng_state())

    threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert torch.equal(torch.rand(2), expected)


class Named(NamedTuple):
    label: object
    weight: float


def test_the_leaves_of_a_graph_are_found_through_any_node_and_each_once() -> None:
    one, other, frozen = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True), torch.ones(2)
    whole = (one * other + one.exp() * frozen).clone()
    assert {id(leaf) for leaf in tensors.leaves_of_graph(whole.sum())} == {id(one), id(other)}
    assert len(tensors.leaves_of_graph(whole.sum())) == 2
    assert [leaf is one for leaf in tensors.leaves_of_graph(one)] == [True]


def test_parts_of_what_may_be_anything_are_found_and_replaced() -> None:
    tensor, array = torch.ones(2), np.zeros(3)
    tree = {"a": [tensor, "word", None], "b": Named(array, 2.0), "c": {1, 2}}
    assert [tuple(part.shape) for part in tensors.parts_in(tree)] == [(2,), (3,)]
    changed = tensors.map_parts(lambda part: 7 if part is tensor else part, tree)
    assert changed == {"a": [7, "word", None], "b": Named(array, 2.0), "c": {1, 2}}
    assert type(changed["b"]) is Named


def test_autocast_is_noticed_whatever_device_it_is_for() -> None:
    tensors.refuse_autocast("this")
    for kind, dtype in (("cpu", torch.bfloat16), ("cuda", torch.bfloat16)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # there may be no such device
            autocast = torch.autocast(kind, dtype)
        with autocast:
            if torch.is_autocast_enabled(kind):
                with pytest.raises(WiringError, match=r"torch\.autocast is entered around this"):
                    tensors.refuse_autocast("this")
    tensors.refuse_autocast("this")
