"""Compares a saved gate with the description that it is to continue."""

from collections.abc import Iterator

from akkordeon.gate.description import Gate
from akkordeon.gate.learner import kinds
from akkordeon.gate.parameters import kept
from akkordeon.messages.states import GateState

PROGRESS = ("last_epoch", "T_cur", "T_i")
"""What a scheduler's state says of how far it has come, rather than of where it goes."""


def schedule_changes(gate: Gate, state: GateState) -> Iterator[str]:
    """Yield how the schedule that goes on differs from the one that the gate describes now."""
    optimizer = gate.make_optimizer(gate.module)
    scheduler = None if optimizer is None else gate.make_scheduler(optimizer)
    if scheduler is None or "scheduler" not in state.rest:
        return
    now, before = scheduler.state_dict(), state.rest["scheduler"]
    for name, value in now.items():
        plain = isinstance(value, int | float | str) and not name.startswith("_")
        if plain and name not in PROGRESS and before.get(name, value) != value:
            yield f"{type(scheduler).__name__} of gate {gate.name!r} goes on with {name}={before[name]}, not {value}"


def mismatches(gate: Gate, state: GateState) -> Iterator[str]:
    """Yield how what was saved of a gate differs from the gate as it is now; names and shapes of its weights apart."""
    held = dict(gate.module.named_buffers())
    for name, buffer in state.rest["buffers"].items():
        if name not in held or held[name].shape != buffer.shape:
            yield f"gate {gate.name!r}: its buffer {name!r} was {tuple(buffer.shape)}, and is another"
    for name, tensor in kept(gate.module).items():
        if name in state.weights and state.weights[name].dtype != tensor.dtype:
            yield f"gate {gate.name!r}: its {name!r} was {state.weights[name].dtype}, and is {tensor.dtype}"
    now = kinds(gate)
    for what in sorted({*now, *state.kinds}):
        before, after = state.kinds.get(what, "none"), now.get(what, "none")
        if before != after:
            yield f"gate {gate.name!r}: its {what} was {before}, and is {after}"
