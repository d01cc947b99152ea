"""The forward of a gate's module as a pure function of frozen weights.

A replica is a module object that computes with whatever weights it is given: the tensors of a snapshot are put into
its parameter slots, and clones of the buffers into its buffer slots. A gate has one replica per computation that it
may run at once, since slots are not thread-safe. Nothing here changes the gate.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from akkordeon.gate.backward import Graph
from akkordeon.gate.random_state import Drawn, RandomState
from akkordeon.gate.versions import Buffers, Snapshot
from akkordeon.messages.tree import Structure, Tree, flatten, map_leaves, rebuild
from akkordeon.tensors import moved

REPLAYS = 3
"""How often a recomputed forward is tried when others draw random numbers meanwhile."""

Slots = list[tuple[dict[str, Tensor | None], str, int]]
"""Where tensors go: the dictionary of a submodule, the name in it, and which of the module's tensors."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training forward yields: the detached output, its graph, the buffers it left, and what it drew."""

    output: Tree
    graph: Graph
    buffers: Buffers
    drew: "Drawn | None"


class Replica:
    """A module object that computes with the weights it is given, one computation at a time.

    Args:
        module: is changed; give each replica an object of its own.
        random_lock: held over a forward that draws random numbers, since torch's generator is process-wide.
        device: where the module is, None where it has not been moved.
        records: whether forwards will be run again, so that the random numbers they draw must be known.
        autocast: type to compute in where torch deems it safe; the output is of the usual type again.
        forward: runs the module, as `Compiled` does; None calls it.
    """

    def __init__(
        self,
        module: nn.Module,
        random_lock: AbstractContextManager[object],
        *,
        device: torch.device | None = None,
        records: bool = False,
        autocast: torch.dtype | None = None,
        forward: Callable[[nn.Module, Tree], Tree] | None = None,
    ) -> None:
        self._module = module
        self._forward: Callable[[Tree], Tree] = module if forward is None else partial(forward, module)
        self._random_lock = random_lock
        self._device = device
        self._records = records
        self._autocast = autocast
        self._mode: bool | None = None
        # What the first forward in each mode shows: whether it draws random numbers, and writes into its input.
        self._draws: dict[bool, bool] = {}
        self._writes_input: dict[bool, bool] = {}
        self._own = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._parameter_slots = _slots(module, "_parameters", list(module.parameters()))
        self._buffer_slots = _slots(module, "_buffers", list(module.buffers()))
        self._buffer_names = [name for name, _ in module.named_buffers()]

    def train(
        self, x: Tree, snapshot: Snapshot, buffers: Buffers, *, wants_gradient: bool, replay: Drawn | None = None
    ) -> Trained:
        """Run the module forward in training mode.

        Args:
            x: the input, as it was received; is not written.
            snapshot: the weights to use.
            buffers: as they are to be found; are not written.
            wants_gradient: whether the gradient of the input will be asked for.
            replay: draw these random numbers again.
        """
        leaves, structure = flatten(x)
        inputs = tuple(self._fresh(leaf, wants_gradient=wants_gradient) for leaf in leaves)

        def run() -> Tree:
            return self._run(inputs, structure, snapshot, buffers, training=True)

        output, drew_from = self._drawing(run, replay, training=True)
        outputs, shape = flatten(output)
        detached = rebuild(shape, [y.detach() for y in outputs])
        return Trained(detached, Graph(inputs, tuple(outputs), snapshot), self._buffers_left(), drew_from)

    @torch.no_grad()
    def evaluate(self, x: Tree, snapshot: Snapshot, buffers: Buffers) -> Tree:
        """Run the module forward in evaluation mode; nothing is kept, and buffers that it writes are thrown away."""
        leaves, structure = flatten(x)
        inputs = tuple(self._fresh(leaf, wants_gradient=False) for leaf in leaves)

        def run() -> Tree:
            return self._run(inputs, structure, snapshot, buffers, training=False)

        return self._drawing(run, None, training=False)[0]

    def _fresh(self, leaf: Tensor, *, wants_gradient: bool) -> Tensor:
        fresh = leaf.detach() if self._device is None else moved(leaf.detach(), self._device)
        return fresh.requires_grad_(wants_gradient and (fresh.is_floating_point() or fresh.is_complex()))

    def _run(
        self, inputs: Sequence[Tensor], structure: Structure, snapshot: Snapshot, buffers: Buffers, *, training: bool
    ) -> Tree:
        self._fill(snapshot, buffers)
        if self._mode is not training:
            self._module.train(training)
            self._mode = training
        known = self._writes_input.get(training)
        given = inputs if known is False else [leaf.clone() for leaf in inputs]
        tensors = (*given, *snapshot.tensors)
        versions = [tensor._version for tensor in tensors]
        output = self._compute(rebuild(structure, given))
        wrote = [tensor._version != version for tensor, version in zip(tensors, versions, strict=True)]
        if any(wrote[len(given) :]):
            raise RuntimeError(
                "the module writes into its own weights in its forward, as Embedding(max_norm=...) does; "
                "a gate's weights change through its optimizer alone"
            )
        if known is False and any(wrote):
            raise RuntimeError(
                "the module wrote into its input, which it did not do at its first batch; clone it there"
            )
        if known is None:
            self._writes_input[training] = any(wrote)
            if training:
                self._check_slots(output)
        return output

    def _compute(self, x: Tree) -> Tree:
        if self._autocast is None:
            return self._forward(x)
        kind = "cpu" if self._device is None else self._device.type
        with torch.autocast(kind, self._autocast):
            output = self._forward(x)
        # What travels is of the usual type: the next gate may not compute in this one. No digit is lost by that.
        return map_leaves(lambda leaf: leaf.float() if leaf.dtype == self._autocast else leaf, output)

    def _check_slots(self, output: Tree) -> None:
        """Refuse a module that reaches a parameter by another way than its slot: it would never be trained."""
        own, self._own = {id(parameter) for parameter in self._own}, []
        nodes = [leaf.grad_fn for leaf in flatten(output)[0] if leaf.grad_fn is not None]
        seen = set(nodes)
        while nodes:
            node = nodes.pop()
            parameter = getattr(node, "variable", None)  # what a leaf's node accumulates into
            if id(parameter) in own:
                raise RuntimeError(
                    f"the module uses its parameter of shape {tuple(parameter.shape)} through a reference of its own "  # type: ignore[union-attr]
                    "(in a list, say), so that it would not be trained; use it as an attribute"
                )
            fresh = {following for following, _ in node.next_functions if following is not None} - seen
            seen |= fresh
            nodes.extend(fresh)

    def _fill(self, snapshot: Snapshot, buffers: Buffers) -> None:
        for slots, name, index in self._parameter_slots:
            slots[name] = snapshot.tensors[index]
        if self._buffer_slots:
            clones = [buffers[name].clone() for name in self._buffer_names]
            for slots, name, index in self._buffer_slots:
                slots[name] = clones[index]

    def _buffers_left(self) -> Buffers:
        left = {self._buffer_names[index]: slots[name] for slots, name, index in self._buffer_slots}
        return {name: buffer.detach() for name, buffer in left.items() if buffer is not None}

    def _drawing(self, run: Callable[[], Tree], replay: Drawn | None, *, training: bool) -> tuple[Tree, Drawn | None]:
        """Run a forward, and return with it what it drew, where that is asked for."""
        if replay is not None:
            return self._replayed(run, replay), replay
        known = self._draws.get(training)
        if known is False and not self._records:
            return run(), None
        if known and not self._records:
            with self._random_lock:
                return run(), None
        with nullcontext() if known is False else self._random_lock:
            before = RandomState(self._device)
            output = run()
            drew = Drawn(before, RandomState(self._device))
        if drew.after.same_as(before):
            self._draws.setdefault(training, False)
            return output, None
        self._draws[training] = True
        if known is False:  # it drew without the lock, so others may have drawn in between: once more, with it
            return self._drawing(run, None, training=training)
        return output, drew

    def _replayed(self, run: Callable[[], Tree], replay: Drawn) -> Tree:
        for _ in range(REPLAYS):
            with self._random_lock:
                now = RandomState(self._device)
                replay.before.restore()
                try:
                    output = run()
                    faithful = RandomState(self._device).same_as(replay.after)
                finally:
                    now.restore()
            if faithful:
                return output
        raise RuntimeError(
            "the forward cannot be recomputed with the random numbers it drew, because something else in this process "
            "draws from torch's generator at the same time: give loaders and losses a torch.Generator of their own, "
            'or use activations="stashed"'
        )


def _slots(module: nn.Module, kind: str, tensors: Sequence[Tensor]) -> Slots:
    """Find every place in a module that holds one of these tensors; one may be held in several."""
    index = {id(tensor): number for number, tensor in enumerate(tensors)}
    return [
        (getattr(part, kind), name, index[id(tensor)])
        for part in module.modules()
        for name, tensor in getattr(part, kind).items()
        if tensor is not None
    ]
