"""Looks at what a module's forward does besides returning an output, and refuses what would train it wrongly.

A look at contents costs more than a small forward, so there is one at the first forward, at the second, fourth, eighth
and so on, and at every 127th: what a module does to itself is seen soon, and what begins late is seen, too.
Identities are compared at every forward.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from akkordeon.gate.internals import Slots
from akkordeon.tensors import nodes_of_graph, same

OWN_TO_TORCH = frozenset({*vars(nn.Module()), "_flat_weights", "_flat_weight_refs"})
"""Attributes that every module has, and an RNN, and that no state of its own is in."""

DEPTH, LENGTH = 4, 200
"""How deep objects in attributes are looked into, and how many items of each."""

EVERY = 127
"""Forwards from one look to the next in the long run; a prime, so as to meet what is done every hundredth time."""

VALUES = (type(None), bool, int, float, complex, str, bytes)

WRITES = (
    "the module writes into its own weights in its forward, as Embedding(max_norm=...) does; "
    "a gate's weights change through its optimizer alone"
)


class FrozenMoved(Exception):
    """A forward changes frozen parameters, which are state like buffers then.

    Args:
        indices: of the parameters.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__(indices)
        self.indices = indices


class Look:
    """How things are before a forward.

    Args:
        module: that runs.
        tensors: in its parameter slots.
        twice: whether the forward will be run again, so that it may draw from no generator but torch's.
    """

    def __init__(self, module: nn.Module, tensors: Sequence[Tensor], *, twice: bool = False) -> None:
        self._module = module
        self._values = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self._wanted = [tensor.requires_grad for tensor in tensors]
        self._marks = [_mark(tensor) for tensor in tensors]
        self._attributes = dict(_attributes(module))
        self._global = _global_random() if twice else {}

    def check_weights(self, slots: Slots) -> None:
        """Look for weights that the forward wrote into, by whatever way.

        Raises:
            RuntimeError: it wrote into one that the optimizer changes.
            FrozenMoved: it wrote into frozen ones alone, as a moving average does; they are as before.
        """
        moved = {i for holder, name, i in slots if holder[name] is not self._values[i][0]}
        for i, (tensor, value) in enumerate(self._values):
            if _mark(tensor) != self._marks[i] or not same(tensor.detach(), value):
                moved.add(i)
        if any(tensor.requires_grad != before for (tensor, _), before in zip(self._values, self._wanted, strict=True)):
            raise RuntimeError(
                "the module changes requires_grad of its parameters in its forward, and a gate needs to know before "
                "which are frozen: freeze them before, or leave them free and detach what they compute"
            )
        if any(self._values[i][0].requires_grad for i in moved):
            raise RuntimeError(WRITES)
        if moved:
            for tensor, value in self._values:
                tensor.data.copy_(value)
            raise FrozenMoved(sorted(moved))

    def drew(self) -> list[str]:
        """Return the generators outside the module that the forward drew from; another thread may have, too."""
        return [name for name, state in self._global.items() if _global_random()[name] != state]

    def changed(self) -> list[str]:
        """Return the names of the plain attributes that the forward changed, such as a hidden state or a counter."""
        after = dict(_attributes(self._module))
        return [name for name, marks in after.items() if self._attributes.get(name) != marks]


def due(forward: int) -> bool:
    """Whether there is a look at a forward, counted from 1."""
    return not (forward & (forward - 1) and forward % EVERY)


def memory_of(tensors: Sequence[Tensor]) -> list[int]:
    """Return where the numbers of tensors stand: an assignment to `.data` changes that, and no count of writes."""
    return list(map(Tensor.data_ptr, tensors))


class Identities:
    """Tells by identity, which costs little, whether a forward has put something else into a plain attribute.

    Args:
        module: that runs.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._note()

    def _note(self) -> None:
        self._holders = [vars(part) for part in self._module.modules()]
        self._count = sum(map(len, self._holders))
        self._known = list(_plain(self._module))

    def changed(self) -> list[str]:
        """Return the names of the attributes that hold something else than at the call before."""
        stay = [holder.get(name) is value for _, holder, name, value in self._known]
        if all(stay) and sum(map(len, self._holders)) == self._count:
            return []
        before = {whole: list(_marks(value, DEPTH)) for whole, _, _, value in self._known}
        found = [whole for whole, marks in _attributes(self._module) if before.get(whole) != marks]
        self._note()
        return found


def used_again(outputs: Iterable[Tensor], strangers: Set[int]) -> bool:
    """Return whether something in the graph of a forward may use the module again in the backward.

    Args:
        outputs: of the forward.
        strangers: parameters, by id, that a forward must not reach but through its slots.

    Raises:
        RuntimeError: a stranger is reached, which would not be trained.
    """
    again = False
    for node in nodes_of_graph(outputs):
        again |= isinstance(node, BackwardCFunction)
        parameter = getattr(node, "variable", None)  # what a leaf's node accumulates into
        if id(parameter) in strangers:
            raise RuntimeError(
                f"the module uses its parameter of shape {tuple(parameter.shape)} through a reference of its own "  # type: ignore[union-attr]
                "(in a list, or a global variable), so that it would not be trained; use it as an attribute"
            )
    return again


def _mark(tensor: Tensor) -> tuple[int, int]:
    return tensor._version, tensor.data_ptr() if tensor.layout is torch.strided else 0


def _global_random() -> dict[str, Any]:
    return {"random": random.getstate(), "numpy.random": repr(np.random.get_state(legacy=False))}


class _Same:
    """Equal to what holds the same object, which it keeps: no other gets its identity meanwhile."""

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value


def _plain(module: nn.Module) -> Iterator[tuple[str, dict[str, Any], str, Any]]:
    """Yield the plain attributes of a module and its parts: full name, the dictionary each is in, name there, value."""
    for prefix, part in module.named_modules():
        # What pruning and the old forms of weight and spectral norm compute anew before each forward is no state.
        own = (name for name, _ in part.named_parameters(recurse=False))
        computed = {name.rpartition("_")[0] for name in own if name.endswith(("_orig", "_g", "_v"))}
        for name, value in vars(part).items():
            if name not in OWN_TO_TORCH and name not in computed:
                yield f"{prefix}.{name}" if prefix else name, vars(part), name, value


def _attributes(module: nn.Module) -> Iterator[tuple[str, list[Any]]]:
    """Yield the full names of the plain attributes, each with what tells later whether it has changed."""
    for whole, _, _, value in _plain(module):
        yield whole, list(_marks(value, DEPTH))


def _marks(value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, VALUES):
        yield value
    elif not (isinstance(value, Tensor) and value.grad_fn is not None):
        # A tensor with a history is a result of this forward, which no later batch can compute with.
        yield _Same(value)
        yield _contents(value)
        for each in islice(list(_inside(value)), LENGTH if depth else 0):
            yield from _marks(each, depth - 1)


def _contents(value: Any) -> Any:
    """Return what a value that can be written holds, as something to compare."""
    match value:
        case Tensor():
            return value._version
        case torch.Generator():
            return value.get_state().numpy().tobytes()
        case random.Random():
            return value.getstate()
        case _ if hasattr(value, "bit_generator"):  # a generator of NumPy
            return repr(value.bit_generator.state)
        case _ if hasattr(value, "tobytes"):  # an array of NumPy
            return value.tobytes()
        case _:
            return None


def _inside(value: Any) -> Iterable[Any]:
    """Return what else a value holds."""
    match value:
        case Mapping():
            return chain.from_iterable(value.items())
        case list() | tuple() | set() | frozenset() | deque():
            return value
        case Tensor() | nn.Module() | type() | random.Random() | torch.Generator():
            return ()
        case _:
            return () if callable(value) else chain.from_iterable(getattr(value, "__dict__", {}).items())
