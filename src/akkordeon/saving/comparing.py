"""Compares a saved gate with the description that it is to continue."""

from collections.abc import Iterator

from akkordeon.gate.description import Gate
from akkordeon.gate.internals import buffer_slots
from akkordeon.gate.learner import SHAPE, kinds
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


def as_described(gate: Gate, state: GateState) -> Iterator[str]:
    """Yield the whole names of buffers that were described as they are now, whatever a forward has made of them."""
    for name, buffer in gate.module.named_buffers():
        if state.kinds.get(SHAPE + name) == str(tuple(buffer.shape)):
            yield gate.whole_prefix + name


def mismatches(gate: Gate, state: GateState) -> Iterator[str]:
    """Yield how what was saved of a gate differs from the gate as it is now; names and shapes of its weights apart."""
    held = {name: holder[key] for holder, key, name in buffer_slots(gate.module)}
    for name, buffer in state.rest["buffers"].items():
        # A forward may have changed its shape since; what counts is how it was described.
        before = state.kinds.get(SHAPE + name, str(tuple(buffer.shape)))
        now = held.get(name)
        if name not in held or (now is not None and str(tuple(now.shape)) != before):
            yield f"gate {gate.name!r}: its buffer {name!r} was {before}, and is another"
    for name, tensor in kept(gate.module).items():
        if name in state.weights and state.weights[name].dtype != tensor.dtype:
            yield f"gate {gate.name!r}: its {name!r} was {state.weights[name].dtype}, and is {tensor.dtype}"
    today = kinds(gate)
    for what in sorted(each for each in {*today, *state.kinds} if not each.startswith(SHAPE)):
        before, after = state.kinds.get(what, "none"), today.get(what, "none")
        if before != after:
            yield f"gate {gate.name!r}: its {what} was {before}, and is {after}"
