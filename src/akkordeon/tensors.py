"""Moves tensors between devices, copies them, looks for NaN and infinities; the one place that uses torch's internals.

What the package relies on in torch without being promised stands in the second half. Each function there says what it
relies on and what that gains; `tests/test_torch_internals.py` has a test for each, to be read first where a new version
of torch breaks something.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import starmap
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor
from torch.autograd import profiler
from torch.autograd.graph import _engine_run_backward
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils._pytree import tree_iter, tree_map

from akkordeon.errors import WiringError
from akkordeon.messages.tree import Tree, map_leaves

SUMMED_ONE_BY_ONE = 2
"""Tensors up to which each is summed up in a call of its own, which with so few is faster than their norms."""


def to_device(tree: Tree, device: torch.device | None) -> Tree:
    """Return the tree with all tensors on a device; None leaves them where they are."""
    if device is None:
        return tree
    return map_leaves(lambda leaf: moved(leaf, device), tree)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; itself, if it is there.

    All that a process computes on one GPU runs on the GPU's default stream, in the order in which threads ask for it.
    So what is asked for after a copy finds it done, on whichever thread, and no events are needed. With a stream for
    each gate small computations of several gates could overlap, but each tensor that goes from one to the next would
    have to be waited for, and kept from being reused too early. Between two GPUs, torch's copies do that.
    """
    if tensor.device == device:
        return tensor
    if device.type == "cuda" and tensor.device.type == "cpu":
        # Out of pinned memory, which torch keeps until the copy is over, the copy takes its turn on the GPU while this
        # thread goes on. The other way round this thread would read an unfinished copy, so `to` waits for it.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def all_finite(tensors: Iterable[Tensor | None]) -> bool:
    """Whether there is no NaN and no infinity in any of the tensors."""
    values = [t if t.layout is torch.strided else numbers_of(t) for t in tensors if t is not None]
    if values and values[0].device.type != "cpu":
        return all_finite_at_once(values)
    # A NaN or an infinity always shows in the sum, which is 25 times faster than looking at each element; a sum that
    # is not finite may also have overflowed, which only the elements tell.
    return math.isfinite(_sum(values)) or all(bool(t.isfinite().all()) for t in values)


def _sum(values: list[Tensor]) -> float:
    """Return the sum of all numbers, or of all norms: one call, which gives the interpreter away only once."""
    if len(values) > SUMMED_ONE_BY_ONE and all(value.is_floating_point() for value in values):
        return torch.stack(norms(values)).sum().item()
    return abs(sum(value.sum().item() for value in values))


@torch.no_grad()
def all_finite_at_once(tensors: Sequence[Tensor]) -> bool:
    """Answer the same question about dense tensors with one look at the device, for which this thread has to wait."""
    if not tensors:
        return True
    sums = [tensor.sum().abs().to(tensors[0].device, torch.float32) for tensor in tensors]
    return math.isfinite(torch.stack(sums).sum().item()) or all(bool(each.isfinite().all()) for each in tensors)


def dense_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """Return the dense tensors that a tensor consists of: itself, or the indices and values of a sparse one."""
    match tensor.layout:
        case torch.sparse_coo:
            return tensor._indices(), tensor._values()
        case torch.sparse_csr | torch.sparse_bsr:
            return tensor.crow_indices(), tensor.col_indices(), tensor.values()
        case torch.sparse_csc | torch.sparse_bsc:
            return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
        case _:
            return (tensor,)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers; NaN is the same as NaN."""
    if a is b:
        return True
    if (a.shape, a.dtype, a.layout) != (b.shape, b.dtype, b.layout):
        return False
    return all(starmap(_equal, zip(dense_parts(a), dense_parts(b), strict=True)))


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


PLAIN_TUPLES = (tuple, Size)
"""Tuples that can be made again of their items; a named tuple takes other arguments."""


def copied(tree: Tree) -> Tree:
    """Return a tree with copies of its tensors in main memory; anything else in it stays as it is."""
    match tree:
        case Tensor():
            return tree.detach().to("cpu", copy=True)
        case list():
            return [copied(branch) for branch in tree]
        case tuple() if type(tree) in PLAIN_TUPLES:
            return tuple(copied(branch) for branch in tree)
        case dict():
            return {key: copied(branch) for key, branch in tree.items()}
        case _:
            return tree


class MovingMean:
    """A moving mean of numbers; the first few are averaged plainly, so that none of them counts for too much.

    Args:
        weight: of the latest value, once there are more than `1 / weight`.
    """

    __slots__ = ("_weight", "count", "value")

    def __init__(self, weight: float) -> None:
        self.value = 0.0
        self.count = 0
        self._weight = weight

    def add(self, value: float) -> None:
        """Take in one value."""
        self.count += 1
        self.value += max(self._weight, 1 / self.count) * (value - self.value)


# What is relied on in torch without being documented. Figures are of torch 2.13 on one core, for a gate with two linear
# layers (50-20-10), with nothing else running.


def differentiate(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], of_outputs: Sequence[Tensor], *, accumulate: bool = False
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the inputs, None where the outputs do not depend on one.

    The same as `torch.autograd.grad(outputs, inputs, of_outputs, allow_unused=True)`, bit for bit, without the checks
    that it makes in Python for nested and symbolic tensors. Relies on `_engine_run_backward`, which it calls after
    these; gains up to 50 microseconds, as long as the backward of a small gate.

    Args:
        outputs: tensors with a graph.
        inputs: leaves that require a gradient.
        of_outputs: gradients of the outputs, of their shapes.
        accumulate: let gradients gather in `.grad` of the inputs, which nobody else may use meanwhile, and take them
            from there: torch's reentrant checkpoints allow no other way.

    Raises:
        ValueError: a gradient has another shape than its output.
    """
    for output, gradient in zip(outputs, of_outputs, strict=True):
        if output.shape != gradient.shape:
            raise ValueError(f"a gradient of shape {tuple(gradient.shape)} came for an output of {tuple(output.shape)}")
    keep_graph = create_graph = False
    try:
        found = _engine_run_backward(
            tuple(outputs),
            tuple(of_outputs),
            keep_graph,
            create_graph,
            () if accumulate else tuple(inputs),
            allow_unreachable=True,
            accumulate_grad=accumulate,
        )
        return tuple(each.grad for each in inputs) if accumulate else tuple(found)
    finally:
        for each in inputs if accumulate else ():
            each.grad = None


def nodes_of_graph(outputs: Iterable[Tensor]) -> list[Any]:
    """Return the nodes of the graph that tensors depend on, each once; takes 0.2 microseconds for each."""
    nodes: list[Any] = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen = set(nodes)
    for node in nodes:  # which grows
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return nodes


def leaves_of_graph(output: Tensor) -> list[Tensor]:
    """Return the leaves that require a gradient and that a tensor depends on.

    Relies on the names of nodes and on `AccumulateGrad.variable`.
    """
    if output.grad_fn is None:
        return [output]
    # By name, since a node of a user's may have any attribute.
    nodes = [node for node in nodes_of_graph((output,)) if node.name() == "torch::autograd::AccumulateGrad"]
    return [node.variable for node in nodes]


def parts_in(tree: object) -> Iterator[Tensor]:
    """Yield the tensors in what may be anything, and arrays of numbers as tensors; relies on `torch.utils._pytree`."""
    for part in tree_iter(tree):
        if isinstance(part, np.ndarray) and part.dtype.kind in "biuf":
            yield torch.as_tensor(part)
        elif isinstance(part, Tensor):
            yield part


map_parts = tree_map
"""Takes a function and a tree of named tuples and more, returns the tree of what the function returns for its parts.

Relies on `torch.utils._pytree`, which torch's own transforms use.
"""


def optimizer_step(optimizer: Optimizer) -> None:
    """Let an optimizer take a step.

    torch wraps `step` in one that labels it for the profiler and calls hooks. Without a profiler and hooks, the wrapped
    function does the same. Relies on `__wrapped__` and on where hooks are kept; gains 90 of 112 microseconds with SGD.
    """
    wrapper = type(optimizer).step
    listeners = (
        vars(optimizer).get("step"),  # a scheduler puts one there, to see that steps are taken
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        _global_optimizer_pre_hooks,
        _global_optimizer_post_hooks,
        profiler._is_profiler_enabled,
    )
    if getattr(wrapper, "hooked", False) and not any(listeners):
        wrapper.__wrapped__(optimizer)  # type: ignore[attr-defined]
    else:
        optimizer.step()


def refuse_autocast(what: str) -> None:
    """Refuse a call that `torch.autocast` is entered around: it holds for one thread, and others compute.

    Relies on `_is_any_autocast_enabled`, which asks for all kinds of devices.

    Raises:
        WiringError: it is entered.
    """
    if torch._C._is_any_autocast_enabled():
        raise WiringError(
            f"torch.autocast is entered around {what}, and would reach neither gates nor the loss: leave it, and give "
            "each gate autocast=torch.bfloat16; what the loss is to compute in that type, let it cast itself"
        )


norms = torch._foreach_norm
"""Takes tensors, returns the norm of each, in one call.

Gains 65 of 80 microseconds over `get_total_norm`. Each call of torch gives the interpreter away, and may have to wait
for it: where other threads compute, that costs more than the call. The same holds for the next two.
"""

clones = torch._foreach_clone
"""Takes tensors, returns a clone of each, in one call."""

differences = torch._foreach_sub
"""Takes two lists of tensors, returns the difference of each pair, in one call."""


def has_gradient_hook(parameter: Tensor) -> bool:
    """Whether something is to be called with the parameter's gradient; relies on where torch keeps such hooks."""
    return bool(parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None))


def numbers_of(tensor: Tensor) -> Tensor:
    """Return the numbers that a tensor stores: of a sparse one those that are not zero, each once."""
    return tensor if tensor.layout is torch.strided else (tensor.coalesce() if tensor.is_sparse else tensor).values()


ROWS, COLUMNS = ("crow_indices", "col_indices", "values"), ("ccol_indices", "row_indices", "values")
LAYOUTS = {torch.strided: (), torch.sparse_coo: ("_indices", "_values")}
LAYOUTS |= {torch.sparse_csr: ROWS, torch.sparse_bsr: ROWS, torch.sparse_csc: COLUMNS, torch.sparse_bsc: COLUMNS}
"""The layouts of tensors that can be saved, and the methods that return what those of each are made of."""


def dismantled(tensor: Tensor) -> tuple[str, list[int], bool, list[Tensor]]:
    """Return the layout of a sparse tensor, its shape, whether each index stands once, its indices and its values.

    Relies on `_indices` and `_values`: the public methods refuse a tensor in which an index may stand twice.
    """
    layout = str(tensor.layout).removeprefix("torch.")
    once = tensor.is_sparse and tensor.is_coalesced()
    return layout, list(tensor.shape), once, [getattr(tensor, name)() for name in LAYOUTS[tensor.layout]]


def assembled(layout: str, shape: list[int], once: bool, parts: list[Tensor]) -> Tensor:  # noqa: FBT001
    """Return the sparse tensor that was dismantled."""
    if layout == "sparse_coo":
        indices, values = parts
        return torch.sparse_coo_tensor(indices, values, shape, is_coalesced=once, check_invariants=True)
    ends, indices, values = parts
    kind = getattr(torch, layout)
    return torch.sparse_compressed_tensor(ends, indices, values, shape, layout=kind, check_invariants=True)


def parts_of(scheduler: LRScheduler) -> Sequence[LRScheduler]:
    """Return the schedulers that one is made of, if any; relies on `_schedulers` of those that torch has."""
    return getattr(scheduler, "_schedulers", ())


def set_last_rates(scheduler: LRScheduler, rates: Sequence[float]) -> None:
    """Let `get_last_lr` return these; relies on `_last_lr`, which it returns."""
    scheduler._last_lr = list(rates)


def compile_backward_at_once() -> AbstractContextManager[object]:
    """Let `torch.compile` make the backward together with the forward, while this is entered.

    Relies on a setting of `torch._functorch.config`. Otherwise the backward would be compiled when it is first run, on
    some other thread and outside the lock that is held for compiling.
    """
    inner: Any = torch  # its modules declare no types
    patched: AbstractContextManager[object] = inner._functorch.config.patch(force_non_lazy_backward_lowering=True)
    return patched


def compiler_failed() -> type[Exception]:
    """Return the error of `torch.compile` when its backend fails; only then, since its module is slow to import."""
    inner: Any = torch
    error: type[Exception] = inner._dynamo.exc.BackendCompilerFailed
    return error
