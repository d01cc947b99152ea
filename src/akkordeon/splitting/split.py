"""Cuts an existing model into gates (`split`), and unties shared parameters (`untie`)."""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from akkordeon.errors import WiringError
from akkordeon.gate.description import Gate, MakeOptimizer, check_copyable, own_copy, own_parameter
from akkordeon.messages.tree import Tree, flatten, map_leaves
from akkordeon.splitting.balance import evenly, measure
from akkordeon.splitting.following import follow
from akkordeon.splitting.pieces import Piece, Program, call, partition, plain, tensors_of
from akkordeon.splitting.places import begin_of, check_order, is_ambiguous, openable, resolve

Model = TypeVar("Model", bound=nn.Module)

log = logging.getLogger(__name__)


def split(
    model: nn.Module,
    at: Sequence[str] | None = None,
    *,
    gates: int | None = None,
    sample: Tree | None = None,
    optimizer: MakeOptimizer | None = None,
    names: Sequence[str] | None = None,
    **settings: Any,
) -> list[Gate]:
    """Cut a model into gates that compute the same, under the same names of parameters.

    An `nn.Sequential` is cut as it is. The forward of any other model is followed once in each mode, so the gates also
    do what it does between its submodules. A value that a later gate needs travels through the gates in between.
    Parameters and buffers that the forward does not use are kept in the first gate.

    Args:
        model: is not changed.
        at: names of the submodules that the second and following gates begin with, such as "layer3".
        gates: number of gates, instead of `at`; they are balanced by time, which needs a sample.
        sample: the x of a batch. With a sample, the forward may look at shapes, and the outputs of gates and model are
            compared in evaluation, bit for bit. A dict is passed to the model as keyword arguments, a tuple as
            positional arguments, if its forward takes them.
        optimizer: of each gate, as in `Gate`.
        names: of the gates; by default those of the submodules that they begin with, with _ for each dot.
        **settings: of each gate, as in `Gate`. Use `dataclasses.replace` to change those of a single gate.

    Raises:
        WiringError: the model cannot be cut there; gives the reason and the remedy.
    """
    if (at is None) == (gates is None):
        raise WiringError('give either at=["layer2", "layer3"], the places to cut, or gates=, the number of gates')
    check_copyable(model, f"the {type(model).__name__} to split")
    scratch = own_copy(model)
    _switch_off(scratch, "use_cache")  # the cache that it keeps for generation
    if at is None:
        at = _balanced(scratch, gates, sample)
    cut = _cut(scratch, at, sample)
    gate_names = _named(cut, names)
    _check_owners(cut, scratch, gate_names)
    if unused := cut.unused(scratch):
        log.info("no step of the forward uses %s; kept in gate %r", ", ".join(unused), gate_names[0])
    if sample is not None:
        _check_same(cut.pieces(scratch), scratch, sample, gate_names)
    named = zip(gate_names, cut.pieces(model), strict=True)
    return [Gate(name, piece, optimizer, prefix="", **settings) for name, piece in named]


def untie(model: Model) -> Model:
    """Give each further user of a shared parameter its own copy, in place; return the model.

    A module with parameters that stands in several places is copied likewise. The config of a Hugging Face model is
    changed so that it does not tie them again. The copies are trained separately from then on.
    """
    seen: set[int] = set()
    _untie(model, seen, {id(model)})
    _switch_off(model, "tie_word_embeddings")
    for part in model.modules():
        if hasattr(part, "all_tied_weights_keys"):
            part.all_tied_weights_keys = {}  # type: ignore[assignment]
    return model


@dataclass(frozen=True)
class _Cut:
    """The programs of a model and the places where they are cut.

    Args:
        programs: by mode: in training (True) and in evaluation (False).
        cuts: indices of the steps that the second and following pieces begin with, by mode.
        at: names of the submodules that these begin with.
    """

    programs: Mapping[bool, Program]
    cuts: Mapping[bool, Sequence[int]]
    at: Sequence[str]

    def pieces(self, model: nn.Module) -> list[Piece]:
        """Make the pieces, which share the submodules of the model."""
        parts = {mode: partition(program, self.cuts[mode]) for mode, program in self.programs.items()}
        pieces = [Piece(*both) for both in zip(parts[True], parts[False], strict=True)]
        for number, name in self.holders():
            pieces[number].take_over(model, name)
        for name in self.unused(model):
            pieces[0].take_over(model, name)
        return pieces

    def holders(self) -> Iterator[tuple[int, str]]:
        """Yield each use of a submodule, parameter or buffer: the number of the piece, and the name."""
        for mode, program in self.programs.items():
            for index, name in program.holders():
                yield sum(cut <= index for cut in self.cuts[mode]), name

    def unused(self, model: nn.Module) -> list[str]:
        """Return the names of the parameters and buffers that no step uses."""
        used = {id(tensor) for _, holder in self.holders() for _, tensor in tensors_of(model, holder)}
        return [name for name, tensor in tensors_of(model) if id(tensor) not in used]


def _switch_off(model: nn.Module, setting: str) -> None:
    """Switch off a setting in the configs of a Hugging Face model."""
    for part in model.modules():
        if getattr(config := getattr(part, "config", None), setting, False):
            setattr(config, setting, False)


def _cut(scratch: nn.Module, at: Sequence[str], sample: Tree | None) -> _Cut:
    at = resolve(scratch, at)
    above = {".".join(path[:depth]) for path in (name.split(".") for name in at) for depth in range(len(path))}
    programs = follow(scratch, frozenset({"", *above}), sample)
    cuts = {mode: [begin_of(name, program, scratch) for name in at] for mode, program in programs.items()}
    for mode, program in programs.items():
        check_order(at, cuts[mode], program)
    return _Cut(programs, cuts, at)


def _balanced(scratch: nn.Module, gates: int | None, sample: Tree | None) -> list[str]:
    """Choose the places to cut for this number of gates, balanced by time."""
    if sample is None:
        raise WiringError(f"gates={gates} needs a sample=, the x of a batch, to measure where to cut")
    if not isinstance(gates, int) or gates < 1:
        raise WiringError(f"gates must be a whole number, at least 1, not {gates!r}")
    programs = follow(scratch, openable(scratch), sample)
    further = list(dict.fromkeys(programs[True].called))[1:]
    separable = [name for name in further if all(_separates(name, each, scratch) for each in programs.values())]
    if gates > len(separable) + 1:
        raise WiringError(
            f"{type(scratch).__name__} can be cut into {len(separable) + 1} gates at most, not {gates}; "
            "for smaller gates name submodules in at="
        )
    cuts = {mode: [program.begins[name] for name in separable] for mode, program in programs.items()}
    costs = measure(_Cut(programs, cuts, separable).pieces(own_copy(scratch)), map_leaves(torch.clone, sample))
    starts = evenly(costs, gates)
    ends = [0, *starts, len(costs)]
    shares = [sum(costs[start:end]) / sum(costs) for start, end in itertools.pairwise(ends)]
    at = [separable[start - 1] for start in starts]
    log.info("cut at %s; measured shares of the time: %s", at, ", ".join(f"{share:.0%}" for share in shares))
    return at


def _separates(name: str, program: Program, scratch: nn.Module) -> bool:
    """Whether no parameter or buffer is needed both before and after this submodule is called."""
    if (cut := program.begins.get(name)) is None or is_ambiguous(name, program, scratch):
        return False
    before, after = set[int](), set[int]()
    for index, holder in program.holders():
        (before if index < cut else after).update(id(tensor) for _, tensor in tensors_of(scratch, holder))
    return before.isdisjoint(after)


def _named(cut: _Cut, names: Sequence[str] | None) -> list[str]:
    """Return the names of the gates: those given, or those of the submodules that they begin with."""
    if names is None:
        first = [*cut.programs[True].called, "stem"][0]
        names = [name.replace(".", "_") for name in (first, *cut.at)]  # a module's name has no dot
    if isinstance(names, str) or len(names) != len(cut.at) + 1:
        raise WiringError(f"names={names!r} must name each of the {len(cut.at) + 1} gates, in order")
    if len(set(names)) < len(names):
        raise WiringError(f"two gates would have the same name in names={list(names)}; give each its own")
    return list(names)


def _check_owners(cut: _Cut, model: nn.Module, gate_names: Sequence[str]) -> None:
    """Check that no parameter or buffer is needed by two gates."""
    owners: dict[int, tuple[int, str]] = {}
    for number, holder in cut.holders():
        for name, tensor in tensors_of(model, holder):
            first, its_name = owners.setdefault(id(tensor), (number, name))
            if first == number:
                continue
            what, remedy = f"{its_name!r} and {name!r} are one parameter", "give each its own with ak.untie(model), or "
            if name == its_name:
                what, remedy = f"{holder!r} is used more than once", ""
            both = f"gates {gate_names[first]!r} and {gate_names[number]!r} would both need {name!r}"
            raise WiringError(f"{what}, and {both}; {remedy}cut so that all uses are in one gate")


@torch.no_grad()
def _check_same(pieces: Iterable[Piece], scratch: nn.Module, sample: Tree, gate_names: Sequence[str]) -> None:
    """Check that the pieces compute in evaluation what the model computes."""
    scratch.eval()
    with torch.random.fork_rng(devices=[]):
        state = torch.get_rng_state()
        x = map_leaves(torch.clone, sample)
        for name, piece in zip(gate_names, pieces, strict=True):
            try:
                x = piece.eval()(x)
                found, shape = flatten(x)
            except Exception as error:
                raise WiringError(f"gate {name!r} cannot be cut out there, it fails for the sample: {error}") from error
        torch.set_rng_state(state)
        expected, structure = flatten(plain(call(scratch, map_leaves(torch.clone, sample))))
    if shape != structure or not all(map(torch.equal, found, expected)):
        raise WiringError(
            f"the gates {', '.join(gate_names)} do not compute for the sample what the {type(scratch).__name__} does, "
            "so its forward depends on more than can be followed; cut elsewhere, or write the pieces as modules of "
            'your own, as Gate("stem", module, prefix="")'
        )


def _untie(module: nn.Module, parameters: set[int], modules: set[int]) -> None:
    for name, parameter in module._parameters.items():
        if parameter is not None and id(parameter) in parameters:
            module._parameters[name] = own_parameter(parameter, {})
        parameters.add(id(parameter))
    for name, child in module._modules.items():
        if child is not None and id(child) not in modules:
            modules.add(id(child))
            _untie(child, parameters, modules)
        elif child is not None and any(True for _ in child.parameters()):
            module._modules[name] = own_copy(child)
