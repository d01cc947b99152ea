"""Compares each gradient, with four batches in flight, with one computed apart: at the weights of the batch's forward.

Each piece runs inside a `Witness`, which notes what a batch met there. The same batch then goes through a fresh model
in a plain loop, which at each piece is given the weights of the version that the gate recorded, and what was noted.
"""

import itertools
import random
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

import akkordeon as ak
from tests.properties.numerics.loops import Recorded, Recorder, one_thread
from tests.strangers.arrangements import Arrangement
from tests.strangers.entry import SEED, Entry, fresh, seed, trains
from tests.strangers.trials import EQUAL, Outcome, dense, difference, raised, told

IN_FLIGHT = 4


class Noted:
    """What a batch met at a piece: the weights, the buffers, and the states of the random generators."""

    def __init__(self, piece: nn.Module) -> None:
        self.weights = [weight.detach().clone() for weight in trainable(piece)]
        self.buffers = buffers_of(piece)
        self.torch_state = torch.get_rng_state()
        self.python_state = random.getstate()

    def follows(self, buffers: dict[str, Tensor]) -> bool:
        """Whether the batch met these buffers."""
        return buffers.keys() == self.buffers.keys() and not any(
            difference(tensor, buffers[name]) for name, tensor in self.buffers.items()
        )

    def restore(self, piece: nn.Module, pristine: nn.Module) -> None:
        """Let a piece meet the same; `pristine` is as it was made."""
        for parameter, value in zip(trainable(piece), self.weights, strict=True):
            with torch.no_grad():
                parameter.copy_(value)
            parameter.grad = None
        for name in dict(piece.named_buffers()).keys() - self.buffers.keys():
            owner, _, own = name.rpartition(".")
            if hasattr(pristine.get_submodule(owner), own):
                setattr(piece.get_submodule(owner), own, None)
            else:  # registered by a forward
                delattr(piece.get_submodule(owner), own)
        for name, tensor in cloned(self.buffers).items():
            owner, _, own = name.rpartition(".")
            setattr(piece.get_submodule(owner), own, tensor)
        torch.set_rng_state(self.torch_state)
        random.setstate(self.python_state)


def buffers_of(piece: nn.Module) -> dict[str, Tensor]:
    return cloned(dict(piece.named_buffers(remove_duplicate=False)))


def cloned(buffers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Clone tensors; what has several names gets one clone."""
    clones = {id(tensor): tensor.detach().clone() for tensor in buffers.values()}
    return {name: clones[id(tensor)] for name, tensor in buffers.items()}


NOTED: dict[int, dict[int, Noted]] = {}
"""By witness and batch; not held by the modules, which would then have state of their own."""

_numbers = itertools.count()

_coin = threading.Lock()
"""Held by what draws from Python's generator, which all threads share: no other draws between what is noted and it."""


class Witness(nn.Module):
    """Runs a piece, and notes what each batch of training meets there."""

    def __init__(self, piece: nn.Module, *, coin: bool = False) -> None:
        super().__init__()
        self.piece = piece
        self.coin = coin
        self.key = next(_numbers)
        NOTED[self.key] = {}

    def forward(self, numbered: dict[str, Any]) -> dict[str, Any]:
        with _coin if self.coin else nullcontext():
            if self.training:
                NOTED[self.key][int(numbered["number"])] = Noted(self.piece)
            return {"x": self.piece(numbered["x"]), "number": numbered["number"]}


def trial_of_gradients(entry: Entry, arrangement: Arrangement, count: int = 24) -> Outcome:
    """Train an entry with several batches in flight, and compare the gradients of all of them at all gates."""
    witnesses = [Witness(piece, coin=entry.coin) for piece in entry.pieces()]
    recorders = [Recorder() for _ in witnesses]
    try:
        train(entry, witnesses, recorders, arrangement, count)
    except Exception as error:  # noqa: BLE001 - whatever is raised is the outcome
        return raised(error)
    finally:
        noted = [NOTED.pop(witness.key) for witness in witnesses]
    try:
        return compare(entry, noted, [recorder.seen for recorder in recorders], count)
    except Exception as error:  # noqa: BLE001 - what was noted may be wrong in any way
        return Outcome("FAILS", f"apart: {told(error)}")


def train(
    entry: Entry, witnesses: Sequence[Witness], recorders: Sequence[Recorder], arrangement: Arrangement, count: int
) -> None:
    batches = [
        ({"x": x, "number": torch.tensor([number])}, target) for number, (x, target) in enumerate(entry.batches(count))
    ]
    gates = [
        ak.Gate(
            f"{number}",
            witness,
            entry.optimizer if trains(witness) else None,
            recorder,
            computations=arrangement.computations,
        )
        for number, (witness, recorder) in enumerate(zip(witnesses, recorders, strict=True))
    ]

    def loss(output: Any, target: Any) -> Any:
        return entry.loss(output["x"], target)

    seed(SEED + 2)
    with ak.launch(gates, engine=arrangement.engine()) as network:
        network.attach(ak.TrainingSentinel("train", lambda: fresh(batches), loss, in_flight=IN_FLIGHT, epochs=1))
        for _ in network.watch():
            pass


def in_some_order(notes: dict[int, Noted], left: dict[int, dict[str, Tensor]]) -> bool:
    """Whether each batch met the buffers that one other batch left, so that they were computed one after the other.

    Args:
        notes: what each batch met, by number.
        left: the buffers that it left; at -1 those of the beginning.
    """
    waiting, latest = set(notes), -1
    while waiting:
        following = [number for number in sorted(waiting) if notes[number].follows(left[latest])]
        if not following:
            return False
        # One that changes nothing may come first, and any number of others after it.
        latest = next((number for number in following if notes[number].follows(left[number])), following[0])
        waiting.discard(latest)
    return True


def compare(entry: Entry, noted: Sequence[dict[int, Noted]], seen: Sequence[Sequence[Recorded]], count: int) -> Outcome:
    """Compute all gradients again, one batch after the other, and compare them with those that were seen."""
    pieces, pristine = entry.pieces(), entry.pieces()
    arrivals = [list(of_gate) for of_gate in seen]
    left = [{-1: buffers_of(piece)} for piece in pieces]
    versions = [{each.arrival.version_now: each.now for each in of_gate} for of_gate in seen]
    with one_thread():
        for number, (x, target) in enumerate(entry.batches(count)):
            output = x
            for piece, made, notes in zip(pieces, pristine, noted, strict=True):
                notes[number].restore(piece, made)
                output = piece(output)
            torch.autograd.backward(entry.loss(output, target))
            for piece, buffers in zip(pieces, left, strict=True):
                buffers[number] = buffers_of(piece)
            for at, (piece, notes) in enumerate(zip(pieces, noted, strict=True)):
                has_gradient = any(weight.grad is not None for weight in trainable(piece))
                if has_gradient and (what := take_out(piece, notes[number], arrivals[at], versions[at])):
                    return Outcome("DIFFERS", f"batch {number} at gate {at}: {what}")
    if entry.in_turn and not all(itertools.starmap(in_some_order, zip(noted, left, strict=True))):
        return Outcome("DIFFERS", "batches find buffers that no batch before them left")
    if any(arrivals):
        return Outcome("DIFFERS", "there were more gradients than in a plain loop")
    if count > IN_FLIGHT and not any(each.arrival.staleness for each in itertools.chain(*seen)):
        return Outcome("FAILS", "no gradient was late, so this has shown nothing")
    return EQUAL


def trainable(piece: nn.Module) -> list[Tensor]:
    return [parameter for parameter in piece.parameters() if parameter.requires_grad]


def take_out(piece: nn.Module, noted: Noted, arrivals: list[Recorded], versions: dict[int, list[Tensor]]) -> str:
    """Take the gradient of a batch out of those that came; say what is wrong with the next one if it is not there.

    Where a forward was computed again, another batch may have overtaken this one.
    """
    told = [unlike(piece, noted, each, versions) for each in arrivals[:IN_FLIGHT]]
    if "" in told:
        del arrivals[told.index("")]
        return ""
    return told[0] if told else "its gradient never came"


def unlike(piece: nn.Module, noted: Noted, seen: Recorded, versions: dict[int, list[Tensor]]) -> str:
    """Say which weight or gradient of a gate was another one; empty if none was."""
    names = [name for name, parameter in piece.named_parameters() if parameter.requires_grad]
    of_version = versions[seen.arrival.version_forward]
    for name, met, live in zip(names, noted.weights, of_version, strict=True):
        if what := difference(met, live):
            return f"{name} is not that of version {seen.arrival.version_forward}, {what}"
    for name, parameter, gradient in zip(names, trainable(piece), seen.gradients, strict=True):
        expected = parameter.grad
        if gradient is None or expected is None:
            what = "" if gradient is expected else f"is {gradient}, not {expected}"
        else:
            what = difference(dense(gradient), dense(expected))
        if what:
            return f"the gradient of {name}, {seen.arrival.staleness} updates late, {what}"
    return ""
