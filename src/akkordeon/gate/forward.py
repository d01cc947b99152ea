"""Runs the forward of a gate's module as a pure function of frozen weights.

A replica is a module object that computes with the weights that it is given: the tensors of a snapshot are put into
its parameter slots, and clones of the buffers into its buffer slots. A gate has one replica per computation that it
may run at once, since slots are not thread-safe. Nothing here changes the gate.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import starmap, zip_longest
from typing import TypeVar

import torch
from torch import Tensor, nn

from akkordeon.gate.backward import BatchGradients, Graph
from akkordeon.gate.description import own_copy
from akkordeon.gate.guards import WRITES, FrozenMoved, Identities, Look, due, memory_of, used_again
from akkordeon.gate.internals import buffer_slots, noted, parameter_slots, parametrization_cache
from akkordeon.gate.parameters import NamedTensors
from akkordeon.gate.random_state import RandomNumbers, RandomState
from akkordeon.gate.versions import Snapshot
from akkordeon.messages.tree import Structure, Tree, flatten, map_leaves, rebuild
from akkordeon.tensors import moved, same

T = TypeVar("T")

MOST_REPLAYS = 3
"""How often a recomputed forward is tried while something else in the process draws random numbers, too."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training forward yields.

    Args:
        output: detached.
        differentiable: of each tensor of the output, whether a gradient can come back to something trainable.
        graph: for the backward.
        buffers: as the forward left them.
        drew: the random numbers it drew, where it will be run again.
        changed: the plain attributes that it changed.
    """

    output: Tree
    differentiable: tuple[bool, ...]
    graph: Graph
    buffers: NamedTensors
    drew: RandomNumbers | None
    changed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What is kept of a batch whose forward will be run again, at other weights.

    Args:
        x: the input.
        buffers: as the first forward found them; those that the second one leaves are thrown away.
        drew: the random numbers of the first forward.
        wanted: of each tensor of the input, whether its gradient will be asked for.
    """

    x: Tree
    buffers: NamedTensors
    drew: RandomNumbers | None
    wanted: tuple[bool, ...]

    def gradients(self, of_outputs: Sequence[Tensor | None], replica: "Replica", snapshot: Snapshot) -> BatchGradients:
        """Run the forward again, and back through it; otherwise as `Graph.gradients`."""
        again = replica.train(self.x, snapshot, self.buffers, wanted=self.wanted, replay=self.drew)
        return again.graph.gradients(of_outputs)


class Replica:
    """A module object that computes with the weights it is given, one computation at a time.

    Where the graph of a forward may use the module once more, as activation checkpointing does in the backward, the
    graph holds on to the replica: what is in its slots must stay there until the gradient has come.

    Args:
        module: is changed, so each replica needs an object of its own.
        random_lock: held over a forward that draws random numbers, since torch's generator is process-wide.
        device: where the module is; None where it has not been moved.
        records: whether forwards will be run again, so that the random numbers they draw must be recorded.
        autocast: type to compute in where torch deems it safe; the output is of the usual type again.
        forward: runs the module, as `Compiled` does; None calls it.
        strangers: parameters that the module must not reach but through its slots.
        moving: names of frozen parameters that the module writes; they come and go with the buffers.
        trained: training forwards that the module has seen.

    Attributes:
        generation: number that its keeper gives it.
    """

    generation = 0

    def __init__(
        self,
        module: nn.Module,
        random_lock: AbstractContextManager[object],
        *,
        device: torch.device | None = None,
        records: bool = False,
        autocast: torch.dtype | None = None,
        forward: Callable[[nn.Module, Tree], Tree] | None = None,
        strangers: Sequence[Tensor] = (),
        moving: Collection[str] = (),
        trained: int = 0,
    ) -> None:
        self._module = module
        self._forward: Callable[[Tree], Tree] = module if forward is None else partial(forward, module)
        self._random_lock = random_lock
        self._device = device
        self._records = records
        self._autocast = autocast
        self._strangers = strangers
        self._mode: bool | None = None
        self._always_evaluate = [part for part in module.modules() if not part.training]
        # Learned at the first forward in each mode: whether it draws random numbers, or uses what else torch keeps once
        # per process, and whether it writes into its input.
        # Until that is known, the forward holds the random lock and gets a clone of its input.
        self._draws: dict[bool, bool] = {}
        self._writes_input: dict[bool, bool] = {}
        self._identities = Identities(module)
        self.trained = trained
        self._again = False
        names = [name for name, _ in module.named_parameters()]
        slots = parameter_slots(module)
        self._dense = all(map(_has_memory, module.parameters()))
        self._parameter_slots = [each for each in slots if names[each[2]] not in moving]
        self._moving_slots = [(holder, key, names[i]) for holder, key, i in slots if names[i] in moving]
        self._buffer_slots = self._moving_slots + buffer_slots(module)
        memories = [each.untyped_storage().data_ptr() for each in module.buffers() if _has_memory(each)]
        self._buffers_share = len(set(memories)) < len(memories)

    def train(
        self,
        x: Tree,
        snapshot: Snapshot,
        buffers: NamedTensors,
        *,
        wanted: Sequence[bool],
        replay: RandomNumbers | None = None,
    ) -> Trained:
        """Run the module forward in training mode.

        Args:
            x: the input, as it was received; is not written.
            snapshot: the weights to use.
            buffers: as they are to be found; are not written.
            wanted: of each tensor of the input, whether its gradient will be asked for; empty for none.
            replay: draw these random numbers again.
        """
        leaves, structure = flatten(x)
        inputs = tuple(starmap(self._fresh, zip_longest(leaves, wanted, fillvalue=False)))
        self.trained += 1
        look = Look(self._module, snapshot.tensors, twice=self._records) if due(self.trained) else None
        run = partial(self._run, inputs, structure, snapshot, buffers, training=True, look=look)
        noted.checkpoint = noted.reentrant = False
        output, drew_from = self._drawing(run, replay, training=True)
        outputs, shape = flatten(output)
        if look is not None:
            self._see(outputs)
            self._check_buffers(buffers)
        again = self if self._again or noted.checkpoint else None
        left = self.buffers_left() if self._buffer_slots else {}
        if again is not None:
            left = {name: buffer.clone() for name, buffer in left.items()}  # the backward may write those in the slots
        graph = Graph(inputs, tuple(outputs), snapshot, again, left, reentrant=noted.reentrant)
        detached, differentiable = [y.detach() for y in outputs], tuple([y.requires_grad for y in outputs])
        changed: list[str] = [] if look is None else look.drew()
        moved = self._identities.changed()
        if self.trained > 1:  # the first may fill a cache
            changed += moved if look is None else look.changed()
        return Trained(rebuild(shape, detached), differentiable, graph, left, drew_from, changed)

    def _see(self, outputs: Sequence[Tensor]) -> None:
        """Look at what the forward has left."""
        self._again |= used_again(outputs, {id(each) for each in self._strangers})
        self._buffer_slots = self._moving_slots + buffer_slots(self._module)  # a forward may register one

    def _check_buffers(self, before: NamedTensors) -> None:
        """Refuse writes into buffers that are views of each other: each gets a memory of its own for a batch."""
        left = self.buffers_left() if self._buffers_share else {}
        changed = [name for name, buffer in left.items() if name in before and not same(before[name], buffer)]
        if changed:
            raise RuntimeError(
                f"the module writes into {', '.join(map(repr, changed))}, and some of its buffers are views of others: "
                "register one of them, and take the view in the forward"
            )

    @torch.no_grad()
    def evaluate(self, x: Tree, snapshot: Snapshot, buffers: NamedTensors) -> Tree:
        """Run the module forward in evaluation mode; nothing is kept, and buffers that it writes are thrown away."""
        leaves, structure = flatten(x)
        inputs = tuple(self._fresh(leaf, wanted=False) for leaf in leaves)
        run = partial(self._run, inputs, structure, snapshot, buffers, training=False)
        return self._drawing(run, None, training=False)[0]

    def like(self) -> nn.Module:
        """Return a copy of the module with the state of its own that it has now."""
        return own_copy(self._module, share=True)

    def once_more(self, work: Callable[[], T]) -> T:
        """Run what draws, or a backward that uses the module again and may put generators back to draw the same."""
        with self._random_lock:
            return work()

    def _fresh(self, leaf: Tensor, wanted: bool) -> Tensor:  # noqa: FBT001 - also called by position
        fresh = leaf.detach() if self._device is None else moved(leaf.detach(), self._device)
        return fresh.requires_grad_() if wanted else fresh

    def _run(
        self,
        inputs: Sequence[Tensor],
        structure: Structure,
        snapshot: Snapshot,
        buffers: NamedTensors,
        *,
        training: bool,
        look: Look | None = None,
    ) -> Tree:
        self._fill(snapshot, buffers)
        if self._mode is not training:
            self._enter(training=training)
        known = self._writes_input.get(training)
        given = inputs if known is False else [leaf.clone() for leaf in inputs]
        # Beside an evaluation, a training forward may write into frozen weights, which all share until that is noticed.
        weights = snapshot.tensors if training else snapshot.trainable
        tensors = (*given, *weights)
        versions = [tensor._version for tensor in tensors]  # autograd's count of writes in place
        places = memory_of(weights) if self._dense else []
        output = self._compute(rebuild(structure, given))
        if look is not None:
            look.check_weights(self._parameter_slots)
        wrote = [tensor._version != version for tensor, version in zip(tensors, versions, strict=True)]
        if any(wrote[len(given) :]) or (places and memory_of(weights) != places) or self._replaced(snapshot):
            raise RuntimeError(WRITES)
        if known is False and any(wrote):
            raise RuntimeError(
                "the module wrote into its input, which it did not do at its first batch; clone it there"
            )
        if known is None:
            self._writes_input[training] = any(wrote)
        if any(wrote) and len({leaf.untyped_storage().data_ptr() for leaf in inputs}) < len(inputs):
            raise RuntimeError("the module writes into its input, parts of which share memory; clone it there")
        return output

    def _replaced(self, snapshot: Snapshot) -> bool:
        """Whether a forward has put other tensors into the slots of parameters."""
        stay = [holder[name] is snapshot.tensors[i] for holder, name, i in self._parameter_slots]
        return not all(stay)

    def _enter(self, *, training: bool) -> None:
        """Change the mode, as a loop does by `train()` and `eval()`; parts that were in evaluation stay there."""
        self._module.train(training)
        for part in self._always_evaluate:
            part.training = False
        self._mode = training

    def _compute(self, x: Tree) -> Tree:
        if self._autocast is None:
            return self._forward(x)
        kind = "cpu" if self._device is None else self._device.type
        with torch.autocast(kind, self._autocast):
            output = self._forward(x)
        # The next gate may not compute in the autocast type, so what leaves has the usual one; no digit is lost.
        return map_leaves(lambda leaf: leaf.float() if leaf.dtype == self._autocast else leaf, output)

    def _fill(self, snapshot: Snapshot, buffers: NamedTensors) -> None:
        for slots, name, index in self._parameter_slots:
            slots[name] = snapshot.tensors[index]
        if self._buffer_slots:
            clones = {name: buffer.clone() for name, buffer in buffers.items()}
            for slots, key, name in self._buffer_slots:
                slots[key] = clones.get(name)

    def buffers_left(self) -> NamedTensors:
        """Return the buffers as the latest computation left them, be it a backward that used the module again."""
        left = {name: slots[key] for slots, key, name in self._buffer_slots}
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
        records = self._records and training
        noted.shared = False
        if known is not None and not records:
            output = self.once_more(run) if known else run()
            self._draws[training] = known or noted.shared
            return output, None
        cache = parametrization_cache()
        with nullcontext() if known is False else self._random_lock:
            before = RandomState(self._device)
            try:
                output = run()
            except FrozenMoved:
                before.restore()  # it will be run again
                raise
            drew = RandomNumbers(before, RandomState(self._device))
        if drew.after.same_as(before):
            cached = known is None and cache is not parametrization_cache()
            self._draws[training] = bool(known) or noted.shared or cached
            return output, None
        self._draws[training] = True
        if known is False:  # it draws at some batches only: run it again under the lock, which it did not hold
            before.restore()
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


def _has_memory(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.numel() > 0
