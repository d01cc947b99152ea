"""Holds what a gate learns with: its live weights, and all that changes them.

Invariant: the weights change only in `learn`, in the gate's own turn, after everything that may fail for a batch.

The way of a gradient: `GateActor` takes the batch out of `PendingBatches`; `Graph.gradients` computes it, beside the
actor; `learn` weighs and corrects it for staleness, and accumulates it; `Steps.take` clips it and steps the optimizer.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from math import prod
from typing import Any

import torch
from torch import Tensor

from akkordeon.errors import WiringError
from akkordeon.gate.backward import BatchGradients
from akkordeon.gate.compiling import Compiled
from akkordeon.gate.description import Gate, own_copy
from akkordeon.gate.forward import Replica
from akkordeon.gate.parameters import fill, kept
from akkordeon.gate.random_state import RandomState
from akkordeon.gate.tuning import tune
from akkordeon.gate.updates import Accumulation, Norms, Steps, Update, norm_of, step_at_once, those
from akkordeon.gate.versions import Snapshot, Weights
from akkordeon.messages.batches import NON_FINITE, NOTHING_TO_LEARN, TOO_STALE
from akkordeon.messages.leases import Setting
from akkordeon.messages.states import GateState
from akkordeon.staleness import Arrival, Compensator
from akkordeon.tensors import all_finite, copied, to_device

COMPILER = "inductor"
"""The backend of `torch.compile` that gates are compiled by: torch's own."""


class Learner:
    """The weights of a gate with optimizer, scheduler and compensations.

    Args:
        gate: describes them.
        state: to go on from, which must fit the gate (`mismatches`); None to begin.
    """

    def __init__(self, gate: Gate, state: GateState | None = None) -> None:
        self._gate = gate
        self.device = _device(gate)
        self.module = own_copy(gate.module).to(self.device)
        if state is not None:
            fill(self.module, {**state.weights, **state.rest["buffers"]})
        self.weights = Weights(self.module)
        self._optimizer = gate.make_optimizer(self.module)
        self._scheduler = gate.make_scheduler(self._optimizer) if self._optimizer else None
        self.norms = Norms()
        self._compensators = self._start_compensators()
        hooks = ("predict", "weigh", "correct")
        self._predictors, self._weighers, self._correctors = (those(self._compensators, hook) for hook in hooks)
        self._wants_dense = any(each.dense for each in gate.compensations)
        self._compiled: Compiled | None = None
        self._predicted: dict[int, Snapshot] = {}  # of the present version, by expected staleness
        self._accumulation = Accumulation(gate.accumulate) if gate.accumulate > 1 else None
        self._kinds = kinds(gate)
        if self._optimizer is not None:
            self._steps = Steps(
                self.weights, self._optimizer, self._scheduler, self._compensators, gate.max_norm, self.norms
            )
            step_at_once(self._optimizer)
        self._tuned: int = 0 if state is None else state.rest.get(TUNED, 0)
        if state is not None:
            self._go_on(state)

    def _start_compensators(self) -> list[Compensator]:
        if self._optimizer is None:
            return []
        started = [each.start(self.weights.trainable, self._optimizer) for each in self._gate.compensations]
        if len(those(started, "predict")) > 1:
            raise WiringError(f"gate {self._gate.name!r} has two compensations that predict weights; leave one out")
        return started

    def _go_on(self, state: GateState) -> None:
        self.weights.version = state.version
        self.norms.squares = state.rest.get("squares", 0.0)
        for name, part in self._parts():
            # Of copies: an optimizer writes into what it is given, and the state may be needed for another restart.
            # It puts its tensors on the device by itself; its step counters belong in main memory.
            part.load_state_dict(to_device(copied(state.rest[name]), None if name == "optimizer" else self.device))
        if "random" in state.rest:
            RandomState(self.device, state.rest["random"]).restore()

    @property
    def learning_rate(self) -> float | None:
        """Of the first group of the optimizer; None without one."""
        return None if self._optimizer is None else float(self._optimizer.param_groups[0].get("lr", math.nan))

    def replica(self, random_lock: AbstractContextManager[object], like: Replica | None = None) -> Replica:
        """Return a module object of its own to compute with; as far as another one, if that has state of its own."""
        if self._gate.compile and self._compiled is None:
            self._compiled = Compiled(random_lock, COMPILER)
        return Replica(
            own_copy(self.module, share=True) if like is None else like.like(),
            random_lock,
            device=self.device,
            records=self._gate.activations == "recomputed",
            autocast=self._gate.autocast,
            forward=self._compiled,
            strangers=(*self.weights.live, *self._gate.module.parameters()),
            moving=self.weights.moving,
            trained=0 if like is None else like.trained,
        )

    def snapshot(self, in_flight: int) -> Snapshot:
        """Return the weights to run a forward with.

        Args:
            in_flight: batches that are between forward and gradient here.
        """
        if not self._predictors:
            return self.weights.snapshot()
        staleness = in_flight if self._accumulation is None else self._accumulation.expected(in_flight)
        if staleness not in self._predicted:
            self._predicted[staleness] = self._predict(staleness)
        return self._predicted[staleness]

    def _predict(self, staleness: int) -> Snapshot:
        (predictor,) = self._predictors
        weights = predictor.predict(staleness)
        if self.norms.due and self._steps.rate:
            ahead = 0.0 if weights is None else _distance(weights, self.weights.trainable)
            self.norms.ahead = ahead / self._steps.rate
        return self.weights.snapshot() if weights is None else self.weights.snapshot_of(weights)

    def recall(self, staleness: int) -> Snapshot:
        """Return the weights to run a forward again with, `staleness` updates after the first time."""
        for compensator in self._compensators:
            if (weights := compensator.recall(staleness)) is not None:
                return self.weights.snapshot_of(weights)
        return self.weights.snapshot()

    def learn(
        self, result: BatchGradients, staleness: int, arrival: Callable[[], Arrival], others: float = 0.0
    ) -> int | str:
        """Apply the gradient of a batch; return its staleness, or why it was not applied.

        Args:
            result: the gradient.
            staleness: updates since the batch's forward.
            arrival: says more about it; called only where a compensation needs that.
            others: square of the norm of all other gates' gradients, where clipping is by the norm of the network.
        """
        gradients, finite, rate = result.of_weights, result.finite, 1.0
        empty = all(gradient is None for gradient in gradients)
        if self._optimizer is None or (empty and self._accumulation is None):
            return NOTHING_TO_LEARN
        if finite and not empty:
            self.norms.begin(gradients)
            if self._wants_dense:
                gradients = [each.to_dense() if each is not None and each.is_sparse else each for each in gradients]
            if self._weighers or self._correctors:
                record = arrival()
                if not (rate := prod(each.weigh(record) for each in self._weighers)):
                    return TOO_STALE
            if self._correctors:
                gradients = self._corrected(gradients, record)
                finite = all_finite(gradients)
        if not finite:
            return NON_FINITE
        # An accumulating gate counts a batch without gradients, too, as a plain loop that adds up `.grad` does.
        alone = Update(gradients, staleness, rate)
        update = alone if self._accumulation is None else self._accumulation.add(alone)
        if update is not None:
            self._take(update, others)
        self.norms.end()
        return NOTHING_TO_LEARN if empty else staleness

    def _take(self, update: Update, others: float = 0.0) -> None:
        if any(gradient is not None for gradient in update.gradients):
            self._steps.take(update, others)
            self._predicted.clear()

    def end_epoch(self) -> str:
        """Apply or drop the gradients that wait, as the gate's description says; return what became of them."""
        waiting, remainder = self._accumulation, self._gate.remainder
        if waiting is None or not (count := waiting.count) or remainder == "keep":
            return NOTHING_TO_LEARN
        update = waiting.mean()
        if remainder == "drop":
            return f"remainder of {count} batches"
        self._take(update)
        return NOTHING_TO_LEARN

    @torch.no_grad()
    def _corrected(self, gradients: list[Tensor | None], arrival: Arrival) -> list[Tensor | None]:
        corrected = gradients
        for compensator in self._correctors:
            corrected = compensator.correct(corrected, arrival)
        if self.norms.wanted:
            self.norms.add(_distance(corrected, gradients))
        return corrected

    def state(self, *, whole: bool = True, random: bool = True) -> GateState:
        """Return copies of all that a gate of this description needs to go on from here.

        Args:
            whole: with all that it keeps besides weights and buffers.
            random: with torch's random generators, which it shares with other gates of its process.

        Raises:
            TypeError: the module keeps more than tensors.
            Exception: anything that a `state_dict` raises.
        """
        gate, weights, names = self._gate, self.weights.state(), kept(self.module)
        if whole and (extra := [name for name in self.module.state_dict() if name.endswith("_extra_state")]):
            raise TypeError(f"its module has {extra[0]!r}, and only parameters and buffers of modules can be saved")
        rest: dict[str, Any] = {"buffers": {name: weights.pop(name) for name in list(weights) if name not in names}}
        if whole:
            if random:
                rest["random"] = RandomState(self.device).tensors
            else:  # a copy to restart the gate from: settings are numbered within one network, so a save has none
                rest[TUNED] = self._tuned
            rest |= {name: copied(part.state_dict()) for name, part in self._parts()} | {"squares": self.norms.squares}
        known = self._kinds if whole else {}
        return GateState(gate.name, gate.whole_prefix, self.weights.version, weights, rest, known)

    def tune(self, settings: Sequence[Setting]) -> None:
        """Apply the settings that are newer than the latest one applied."""
        for name, value, number in settings:
            if number > self._tuned and self._optimizer is not None:
                tune(self._optimizer, self._scheduler, name, value)
                self._predicted.clear()  # predictions depend on the settings
        self._tuned = max((self._tuned, *(number for _, _, number in settings)))

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """Yield what has a state besides the weights, and the name it is saved by."""
        parts: dict[str, Any] = {
            "optimizer": self._optimizer,
            "scheduler": self._scheduler,
            "accumulation": self._accumulation,
        }
        parts |= {f"compensation {number}": each for number, each in enumerate(self._compensators, 1)}
        yield from ((name, part) for name, part in parts.items() if part is not None)


def _device(gate: Gate) -> torch.device | None:
    """Return where a gate computes; None where its module is on the CPU, and no other device is given."""
    if gate.device is not None:
        return torch.device(gate.device)
    places = (tensor.device for tensor in chain(gate.module.parameters(), gate.module.buffers()))
    return next((place for place in places if place.type != "cpu"), None)


def _distance(these: Sequence[Tensor | None], those: Sequence[Tensor | None]) -> float:
    """Return the norm of the difference."""
    return norm_of([a - b for a, b in zip(these, those, strict=True) if a is not None and b is not None and a is not b])


def kinds(gate: Gate) -> dict[str, str]:
    """Describe what a gate learns with besides its weights, in words that tell states of different gates apart."""
    found = {f"compensation {number}": each.kind for number, each in enumerate(gate.compensations, 1)}
    found |= {SHAPE + name: str(tuple(buffer.shape)) for name, buffer in gate.module.named_buffers()}
    found["accumulation"] = f"{gate.accumulate} batches per update"
    if (optimizer := gate.make_optimizer(gate.module)) is not None:
        groups = "+".join(str(len(group["params"])) for group in optimizer.param_groups)
        found["optimizer"] = f"{type(optimizer).__name__} of {groups} parameters"
        if (scheduler := gate.make_scheduler(optimizer)) is not None:
            found["scheduler"] = type(scheduler).__name__
    return found


SHAPE = "shape of buffer "
"""In a state's kinds, before the name of a buffer."""

TUNED = "tuned"
"""In the copy of a gate: number of the latest change that it holds. A save has none: numbers are of one network."""
