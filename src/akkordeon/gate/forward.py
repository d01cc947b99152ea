"""Runs the forward of a gate's module as a pure function of frozen weights.

A replica is a module object that computes with the weights that it is given: the tensors of a snapshot are put into
its parameter slots, and clones of the buffers into its buffer slots. A gate has one replica per computation that it
may run at once, since slots are not thread-safe. Nothing here changes the gate.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from akkordeon.gate.backward import BatchGradients, Graph
from akkordeon.gate.parameters import NamedTensors
from akkordeon.gate.random_state import RandomNumbers, RandomState
from akkordeon.gate.versions import Snapshot
from akkordeon.messages.tree import Structure, Tree, flatten, map_leaves, rebuild
from akkordeon.tensors import buffer_slots, moved, parameter_slots

MOST_REPLAYS = 3
"""How often a recomputed forward is tried while something else in the process draws random numbers, too."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training forward yields.

    Args:
        output: detached.
        graph: for the backward.
        buffers: as the forward left them.
        drew: the random numbers it drew, where it will be run again.
    """

    output: Tree
    graph: Graph
    buffers: NamedTensors
    drew: RandomNumbers | None


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What is kept of a batch whose forward will be run again, at other weights.

    Args:
        x: the input.
        buffers: as the first forward found them; those that the second one leaves are thrown away.
        drew: the random numbers of the first forward.
        wants_gradient: whether the gradient of the input will be asked for.
    """

    x: Tree
    buffers: NamedTensors
    drew: RandomNumbers | None
    wants_gradient: bool

    def gradients(self, of_outputs: Sequence[Tensor | None], replica: "Replica", snapshot: Snapshot) -> BatchGradients:
        """Run the forward again, and back through it; otherwise as `Graph.gradients`."""
        wanted, drew = self.wants_gradient, self.drew
        again = replica.train(self.x, snapshot, self.buffers, wants_gradient=wanted, replay=drew)
        return again.graph.gradients(of_outputs)


class Replica:
    """A module object that computes with the weights it is given, one computation at a time.

    Args:
        module: is changed, so each replica needs an object of its own.
        random_lock: held over a forward that draws random numbers, since torch's generator is process-wide.
        device: where the module is; None where it has not been moved.
        records: whether forwards will be run again, so that the random numbers they draw must be recorded.
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
        # Learned at the first forward in each mode: whether it draws random numbers, and writes into its input.
        # Until that is known, the forward holds the random lock and gets a clone of its input.
        self._draws: dict[bool, bool] = {}
        self._writes_input: dict[bool, bool] = {}
        self._own = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._parameter_slots = parameter_slots(module)
        self._buffer_slots = buffer_slots(module)
        self._buffer_names = [name for name, _ in module.named_buffers()]

    def train(
        self,
        x: Tree,
        snapshot: Snapshot,
        buffers: NamedTensors,
        *,
        wants_gradient: bool,
        replay: RandomNumbers | None = None,
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
        run = partial(self._run, inputs, structure, snapshot, buffers, training=True)
        output, drew_from = self._drawing(run, replay, training=True)
        outputs, shape = flatten(output)
        detached = rebuild(shape, [y.detach() for y in outputs])
        return Trained(detached, Graph(inputs, tuple(outputs), snapshot), self._buffers_left(), drew_from)

    @torch.no_grad()
    def evaluate(self, x: Tree, snapshot: Snapshot, buffers: NamedTensors) -> Tree:
        """Run the module forward in evaluation mode; nothing is kept, and buffers that it writes are thrown away."""
        leaves, structure = flatten(x)
        inputs = tuple(self._fresh(leaf, wants_gradient=False) for leaf in leaves)
        run = partial(self._run, inputs, structure, snapshot, buffers, training=False)
        return self._drawing(run, None, training=False)[0]

    def _fresh(self, leaf: Tensor, *, wants_gradient: bool) -> Tensor:
        fresh = leaf.detach() if self._device is None else moved(leaf.detach(), self._device)
        return fresh.requires_grad_(wants_gradient and (fresh.is_floating_point() or fresh.is_complex()))

    def _run(
        self,
        inputs: Sequence[Tensor],
        structure: Structure,
        snapshot: Snapshot,
        buffers: NamedTensors,
        *,
        training: bool,
    ) -> Tree:
        self._fill(snapshot, buffers)
        if self._mode is not training:
            self._module.train(training)
            self._mode = training
        known = self._writes_input.get(training)
        given = inputs if known is False else [leaf.clone() for leaf in inputs]
        tensors = (*given, *snapshot.tensors)
        versions = [tensor._version for tensor in tensors]  # autograd's count of writes in place
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
        # The next gate may not compute in the autocast type, so what leaves has the usual one; no digit is lost.
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

    def _fill(self, snapshot: Snapshot, buffers: NamedTensors) -> None:
        for slots, name, index in self._parameter_slots:
            slots[name] = snapshot.tensors[index]
        if self._buffer_slots:
            clones = [buffers[name].clone() for name in self._buffer_names]
            for slots, name, index in self._buffer_slots:
                slots[name] = clones[index]

    def _buffers_left(self) -> NamedTensors:
        left = {self._buffer_names[index]: slots[name] for slots, name, index in self._buffer_slots}
        return {name: buffer.detach() for name, buffer in left.items() if buffer is not None}

    def _drawing(
        self, run: Callable[[], Tree], replay: RandomNumbers | None, *, training: bool
    ) -> tuple[Tree, RandomNumbers | None]:
        """Run a forward; return its output, and what it drew where that is recorded.

        torch's generator is process-wide. A forward that draws holds the random lock, so that what it draws stands
        between two states of the generator, and no other gate's numbers stand in between.
        """
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
            drew = RandomNumbers(before, RandomState(self._device))
        if drew.after.same_as(before):
            self._draws.setdefault(training, False)
            return output, None
        self._draws[training] = True
        if known is False:  # it draws at some batches only: run it again under the lock, which it did not hold
            return self._drawing(run, None, training=training)
        return output, drew

    def _replayed(self, run: Callable[[], Tree], replay: RandomNumbers) -> Tree:
        for _ in range(MOST_REPLAYS):
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
