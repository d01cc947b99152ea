"""Trains a model in a plain loop and as gates, one batch in flight, and compares all that is left, bit for bit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

import akkordeon as ak
from tests.properties.numerics.loops import one_thread
from tests.strangers.arrangements import Arrangement
from tests.strangers.entry import SEED, Chain, Entry, fresh, seed, trains

EPOCHS = 2

WHOLE = "whole"
"""Name of the gate that holds all pieces."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Args:
        kind: "equal" to the plain loop; "refused" by an error of ours; "DIFFERS" without an error; or "FAILS".
        text: more about it.
    """

    kind: Literal["equal", "refused", "DIFFERS", "FAILS"]
    text: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {' '.join(self.text.split())}" if self.text else self.kind

    def meets(self, entry: Entry) -> bool:
        """Whether it is what is expected of the entry."""
        if entry.refused:
            return self.kind == "refused" and re.search(entry.refused, self.text) is not None
        return self.kind == "equal"


EQUAL = Outcome("equal")


@dataclass(frozen=True)
class Trained:
    """What training left: parameters and buffers by name, the loss of each batch, the outputs in evaluation."""

    tensors: dict[str, Tensor]
    losses: list[float]
    outputs: list[Any]
    skipped: str = ""


def trial(entry: Entry, arrangement: Arrangement) -> Outcome:
    """Train an entry both ways, and compare."""
    try:
        expected = plainly(entry, whole=arrangement.whole and entry.max_norm is not None)
    except Exception as error:  # noqa: BLE001 - an entry that is wrong itself may raise anything
        return Outcome("FAILS", f"the plain loop raises {told(error)}")
    given = entry.pieces()
    before = described(given)
    try:
        found = as_gates(entry, given, arrangement)
    except Exception as error:  # noqa: BLE001 - whatever is raised is the outcome
        return raised(error)
    if described(given) != before:
        return Outcome("DIFFERS", "the module that was given has changed")
    different = list(differences(found, expected))
    return Outcome("DIFFERS", "; ".join(different)[:300]) if different else EQUAL


def raised(error: Exception) -> Outcome:
    """Tell a refusal from a failure."""
    return Outcome("refused" if isinstance(error, ak.AkkordeonError) else "FAILS", told(error))


def told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@cache
def plainly(entry: Entry, *, whole: bool = False) -> Trained:
    """Train in the loop that strangers have; clip the gradient of each piece, or of the whole."""
    pieces, batches = entry.pieces(), entry.batches()
    model = nn.Sequential(*pieces)
    parts = [model] if whole else pieces
    optimizers = [(part, entry.optimizer(list(part.parameters()))) for part in parts if trains(part)]
    losses = []
    seed(SEED + 2)
    with one_thread():
        for _ in range(EPOCHS):
            for x, target in fresh(batches):
                model.zero_grad()
                value = entry.loss(model(x), target)
                torch.autograd.backward(value)
                losses.append(value.item())
                for part, optimizer in optimizers:
                    if entry.max_norm is not None:
                        clip_grad_norm_(part.parameters(), entry.max_norm)
                    optimizer.step()
        tensors = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
        model.eval()
        with torch.no_grad():
            outputs = [model(x) for x, _ in fresh(batches)] if entry.validated else []
    return Trained(tensors, losses, outputs)


def as_gates(entry: Entry, pieces: Chain, arrangement: Arrangement) -> Trained:
    """Train as gates, with a validation beside, where the plain loop can have one."""
    batches = entry.batches()
    losses: list[float] = []

    def loss(output: Any, target: Any) -> Any:
        value = entry.loss(output, target)
        losses.append(value.item())
        return value

    gates = gates_of(entry, pieces, arrangement)
    seed(SEED + 2)
    with ak.launch(gates, engine=arrangement.engine()) as network:
        if entry.validated:
            network.attach(ak.ValidationSentinel("validation", lambda: fresh(batches), entry.loss))
        network.attach(ak.TrainingSentinel("train", lambda: fresh(batches), loss, epochs=EPOCHS))
        skipped = [report.skipped for report in network.watch() if report.skipped]
        skipped += [gate.skipped for gate in network.status().gates if gate.skipped]
        model = network.model()
        if entry.validated:
            network.attach(ak.TestSentinel("test", lambda: fresh(batches), in_flight=1))
        outputs = [output for report in network.watch() for output in report.outputs]
    tensors = {name.removeprefix(f"{WHOLE}."): tensor for name, tensor in tensors_of(model).items()}
    return Trained(tensors, losses, outputs, f"{skipped}" if skipped else "")


def gates_of(entry: Entry, pieces: Chain, arrangement: Arrangement) -> list[ak.Gate]:
    """Describe the gates, named as the pieces are in an `nn.Sequential`."""
    named = {WHOLE: nn.Sequential(*pieces)} if arrangement.whole else dict(nn.Sequential(*pieces).named_children())
    return [
        ak.Gate(
            name,
            piece,
            entry.optimizer if trains(piece) else None,
            activations=arrangement.activations,
            computations=arrangement.computations,
            max_norm=entry.max_norm,
        )
        for name, piece in named.items()
    ]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def described(pieces: Chain) -> list[tuple[str, str, bool]]:
    """Say what a module holds, so that a change shows: digits of its tensors, and the modes of its parts."""
    model = nn.Sequential(*pieces)
    tensors = [(name, f"{tensor.shape} {dense(tensor).tolist()}", True) for name, tensor in tensors_of(model).items()]
    return tensors + [(name, "", part.training) for name, part in model.named_modules() if name]


def differences(found: Trained, expected: Trained) -> Iterator[str]:
    """Name what is not the same in both."""
    if found.skipped:
        yield f"skipped {found.skipped}"
    if found.tensors.keys() != expected.tensors.keys():
        yield f"holds {sorted(found.tensors)}, not {sorted(expected.tensors)}"
        return
    if len(found.losses) != len(expected.losses):
        yield f"{len(found.losses)} losses, not {len(expected.losses)}"
    pairs_of_losses = enumerate(zip(found.losses, expected.losses, strict=False))
    if wrong := [f"loss {number} is {one}, not {other}" for number, (one, other) in pairs_of_losses if one != other]:
        yield wrong[0]
    for name, tensor in expected.tensors.items():
        if what := difference(found.tensors[name], tensor):
            yield f"{name} {what}"
    pairs = zip(leaves(found.outputs), leaves(expected.outputs), strict=True)
    if other_outputs := [what for one, other in pairs if (what := difference(one, other))]:
        yield f"{len(other_outputs)} outputs in evaluation, {other_outputs[0]}"


def difference(one: Tensor, other: Tensor) -> str:
    """Say how two tensors differ; empty if they do not, bit for bit."""
    if (one.shape, one.dtype, one.layout) != (other.shape, other.dtype, other.layout):
        return f"is {tuple(one.shape)} {one.dtype} {one.layout}, not {tuple(other.shape)} {other.dtype} {other.layout}"
    one, other = dense(one.detach()), dense(other.detach())
    if torch.equal(one, other) or torch.allclose(one, other, rtol=0, atol=0, equal_nan=True):
        return ""
    return f"differs by {(one - other).abs().max().item() if one.dtype != torch.bool else 1:.3g}"


def dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def leaves(tree: Any) -> Iterator[Tensor]:
    """Yield the tensors in a tree."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(branch)
