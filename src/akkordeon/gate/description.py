"""Describes a gate: a named piece of the model with its own optimizer. `GateActor` runs one."""

import copy
import inspect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import Parameter, is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from akkordeon.errors import WiringError
from akkordeon.gate.closures import Captured
from akkordeon.staleness import Compensation
from akkordeon.tensors import has_gradient_hook, parts_in

MakeOptimizer = Callable[[list[Parameter]], Optimizer] | Callable[[list[tuple[str, Parameter]]], Optimizer]
"""Takes the parameters, or, if its first argument is called `named_parameters`, pairs of their names and them."""

MakeScheduler = Callable[[Optimizer], LRScheduler]


@dataclass(frozen=True)
class Gate:
    """Describe a gate.

    This starts nothing, and the module is never changed: a network trains a copy.

    Args:
        name: unique in its network, and a valid part of a parameter's name.
        module: any module, however large. Takes one input and returns one output, as in an `nn.Sequential`: a tensor,
            or a tuple, list or dict of tensors, of any shapes.
        optimizer: takes the gate's parameters and makes their optimizer, such as `partial(SGD, lr=0.1)`; any optimizer
            whose `step` needs no closure. A function whose first argument is called `named_parameters` gets pairs of
            names in the whole network and parameters instead, to group by name. None for a gate without trainable
            parameters.
        compensation: corrects for stale gradients; one compensation, or several, applied in order.
        scheduler: takes the optimizer and makes its scheduler, which steps once per update of this gate.
        computations: how many batches the gate may compute at once, each on a worker; at least 1. None chooses what
            pays on the engine: two on threads with two workers or more, elsewhere one.
        activations: "stashed" keeps a batch's activations until its gradient comes, which is then exact, merely late.
            "recomputed" keeps only its input, and runs the forward again at the live weights.
        device: where the gate computes; None is where the module is.
        max_norm: clip the gradient of each update to this 2-norm, after compensation, as
            `torch.nn.utils.clip_grad_norm_` does; None does not clip.
        norm: "gate" clips by the norm over all parameters of this gate; "network" by the norm over those of all gates,
            as far as this gate knows it: of later gates for the same batch, of earlier gates the latest norm that came
            along with the batch. All gates that learn must have the same setting.
        accumulate: batches per update, which uses the mean of their gradients; at least 1.
        remainder: what happens with the gradients that still wait when a training sentinel has come to the end of an
            epoch: "apply" makes an update by the mean of what is there, as Hugging Face's trainer does (Lightning and
            Accelerate divide by `accumulate`, and so make a smaller one); "drop" forgets and counts them; "keep" lets
            them wait for batches of the next epoch. Any of several training sentinels ends the update of all.
        autocast: compute in this type where torch considers it safe; only `torch.bfloat16`. Weights, and what leaves
            the gate, keep their type.
        prefix: stands before the names of its parameters in the whole network; None is the gate's name and a dot, as in
            an `nn.Sequential` of the gates. `split` keeps the names that the model had.
        compile: whether `torch.compile` compiles its forward and backward, at the first batch of each mode and shape.
            That takes seconds to minutes, and on a CPU needs a C++ compiler on the gate's machine. Results differ in
            the last bits, and other random numbers are drawn.

    Raises:
        WiringError: a setting or the module cannot work in a gate; the text says which, and what to do.
    """

    name: str
    module: nn.Module
    optimizer: MakeOptimizer | None = None
    compensation: Compensation | Sequence[Compensation] = ()
    scheduler: MakeScheduler | None = None
    computations: int | None = None
    activations: Literal["stashed", "recomputed"] = "stashed"
    device: torch.device | str | None = None
    max_norm: float | None = None
    norm: Literal["gate", "network"] = "gate"
    accumulate: int = 1
    remainder: Literal["apply", "drop", "keep"] = "apply"
    autocast: torch.dtype | None = None
    prefix: str | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or self.name != self.name.strip():
            raise WiringError(f"the name of a gate must be a word, not {self.name!r}")
        given = type(self.module).__name__
        self._require(isinstance(self.module, nn.Module), f"its module is a {given}; give it an nn.Module")
        self._check_settings()
        self._check_module()
        optimizer = self.make_optimizer(self.module)
        self._check_compensations(optimizer)
        if optimizer is not None:
            self.make_scheduler(optimizer)

    @property
    def at_once(self) -> int:
        """How many batches the gate may compute at once."""
        return self.computations or 1

    @property
    def whole_prefix(self) -> str:
        """What stands before the names of its parameters in the whole network."""
        return f"{self.name}." if self.prefix is None else self.prefix

    @property
    def compensations(self) -> tuple[Compensation, ...]:
        """The compensations, in the order they are applied."""
        return (self.compensation,) if isinstance(self.compensation, Compensation) else tuple(self.compensation)

    def make_optimizer(self, module: nn.Module) -> Optimizer | None:
        """Make the optimizer of the parameters of the gate's module, or of a copy of it; None if none is trainable.

        Raises:
            WiringError: the gate cannot use it; the text says why.
        """
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not trainable:
            return None
        if self.optimizer is None:
            raise WiringError(
                f"gate {self.name!r} has {sum(p.numel() for p in trainable)} trainable parameters and no optimizer: "
                "give it one, such as partial(SGD, lr=0.1), or freeze them with requires_grad_(False)"
            )
        given: list[Any] = list(module.parameters())
        try:
            if callable(self.optimizer) and [*inspect.signature(self.optimizer).parameters][:1] == ["named_parameters"]:
                given = [(self.whole_prefix + name, parameter) for name, parameter in module.named_parameters()]
            optimizer = self.optimizer(given)
        except Exception as error:
            raise WiringError(f"gate {self.name!r}: its optimizer could not be made: {error}") from error
        self._check_optimizer(optimizer, trainable)
        return optimizer

    def make_scheduler(self, optimizer: Optimizer) -> LRScheduler | None:
        """Make the scheduler of this optimizer; None if the gate has none.

        Raises:
            WiringError: the gate cannot use it; the text says why.
        """
        if self.scheduler is None:
            return None
        try:
            scheduler = self.scheduler(optimizer)
        except Exception as error:
            raise WiringError(f"gate {self.name!r}: its scheduler could not be made: {error}") from error
        parameters = inspect.signature(scheduler.step).parameters.values()
        needed = [each.name for each in parameters if each.default is inspect.Parameter.empty]
        self._require(
            not needed,
            f"{type(scheduler).__name__}.step() needs {''.join(map(repr, needed[:1]))}, which a gate does not know; "
            "use a scheduler that counts steps, such as LinearLR or CosineAnnealingLR",
        )
        return scheduler

    def _require(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            raise WiringError(f"gate {self.name!r}: {otherwise}")

    def _check_settings(self) -> None:
        numbers = {"computations": 1 if self.computations is None else self.computations, "accumulate": self.accumulate}
        for name, value in numbers.items():
            is_valid = isinstance(value, int) and value >= 1
            self._require(is_valid, f"{name} must be a whole number, at least 1, not {value!r}")
        self._require(isinstance(self.compile, bool), f"compile must be True or False, not {self.compile!r}")
        is_valid = self.max_norm is None or self.max_norm > 0
        self._require(is_valid, f"max_norm must be more than 0, not {self.max_norm}")
        self._require(self.norm in ("gate", "network"), f"norm must be 'gate' or 'network', not {self.norm!r}")
        is_valid = self.remainder in ("apply", "drop", "keep")
        self._require(is_valid, f"remainder must be 'apply', 'drop' or 'keep', not {self.remainder!r}")
        self._require(
            self.norm == "gate" or self.accumulate == 1,
            f"norm='network' is that of single batches; leave out accumulate={self.accumulate}",
        )
        self._require(
            self.autocast in (None, torch.bfloat16),
            f"autocast must be torch.bfloat16, not {self.autocast}; float16 would need its gradients scaled, which "
            "gates that update by themselves cannot agree on",
        )
        is_valid = self.activations in ("stashed", "recomputed")
        self._require(is_valid, f"activations must be 'stashed' or 'recomputed', not {self.activations!r}")

    def _check_module(self) -> None:
        for name, tensor in itertools.chain(self.module.named_parameters(), self.module.named_buffers()):
            self._require(
                not is_lazy(tensor),
                f"{name!r} has no shape yet; run one batch through the module before, so that its lazy parameters and "
                "buffers take shape",
            )
        for name, parameter in self.module.named_parameters():
            self._require(
                not has_gradient_hook(parameter),
                f"parameter {name!r} has a gradient hook, which would never be called; change gradients in a "
                "compensation instead",
            )
        check_copyable(self.module, f"gate {self.name!r}")

    def _check_optimizer(self, optimizer: Any, trainable: list[Parameter]) -> None:
        kind = type(optimizer).__name__
        self._require(isinstance(optimizer, Optimizer), f"its optimizer is a {kind}, not a torch.optim.Optimizer")
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        self._require(
            closure is None or closure.default is not inspect.Parameter.empty,
            f"{kind}.step() needs a closure that computes the loss again, which a gate cannot do: its loss is "
            "elsewhere. Use an optimizer without one, such as SGD, AdamW or RMSprop",
        )
        covered = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self._require(
            not covered.isdisjoint(map(id, trainable)),
            f"its {kind} holds none of the gate's parameters; make it of those it is called with, as partial(SGD, "
            "lr=0.1) does",
        )

    def _check_compensations(self, optimizer: Optimizer | None) -> None:
        kinds = []
        for each in self.compensations:
            is_one = isinstance(each, Compensation)
            self._require(is_one, f"{each!r} is not a compensation; give one such as DelayCompensation()")
            kind = type(each).__name__
            self._require(
                not (each.needs_forward_weights and self.activations == "recomputed"),
                f'{kind} needs the weights of each batch\'s forward, which "recomputed" does not keep; use '
                'activations="stashed"',
            )
            self._require(
                not (each.needs_recomputed and self.activations == "stashed"),
                f'{kind} stands in for the weights of each batch\'s forward, which "stashed" has; leave it out, or use '
                'activations="recomputed"',
            )
            self._require(not each.once or type(each) not in kinds, f"{kind} is given twice; leave one out")
            kinds.append(type(each))
            refusal = None if optimizer is None else each.refusal(optimizer)
            self._require(refusal is None, f"{kind} cannot be used: {refusal}")


def own_copy(module: nn.Module, *, share: bool = False) -> nn.Module:
    """Return a copy of a module that shares nothing with it; functions that captured the module capture the copy.

    Hooks such as the old `weight_norm` leave computed tensors on a module, which torch refuses to copy; they are
    computed again at each forward, so the copy gets them without their history. It refuses some sparse tensors, too.
    Attributes of parameters are kept, which torch leaves out.

    Args:
        module: to copy.
        share: let the copy hold the very parameters and buffers of the module, for others to be put in their place.

    Raises:
        WiringError: a function in it reaches the module through a global variable.
    """
    # A forward may have left results with a history anywhere.
    held = itertools.chain(_attributes(module, nested=share), module.buffers())
    odd = (each for each in held if not each.is_leaf or each.layout is not torch.strided)
    memo: dict[int, Any] = {id(each): each.detach().clone() for each in odd}
    if share:
        memo |= {id(tensor): tensor for tensor in itertools.chain(module.parameters(), module.buffers())}
    captured = Captured(module)
    captured.replace(memo)
    copied = copy.deepcopy(module, memo)
    captured.fill(memo)
    if not share:
        for parameter in module.parameters():
            own_parameter(parameter, memo)
        _share_memory(list(module.parameters()), list(copied.parameters()))
    return copied


def _share_memory(originals: Sequence[Tensor], copies: Sequence[Tensor]) -> None:
    """Let copies share memory where their originals do, as weights that are tied by a view."""
    memories: defaultdict[int, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for original, twin in zip(originals, copies, strict=True):
        if original.layout is torch.strided and original.numel():
            memories[original.untyped_storage().data_ptr()].append((original, twin))
    for pairs in memories.values():
        if len(pairs) > 1:
            memory: Any = pairs[0][0].untyped_storage()
            memory = memory.clone()
            for original, twin in pairs:
                where = (original.storage_offset(), original.size(), original.stride())
                twin.data = torch.empty(0, dtype=twin.dtype, device=twin.device).set_(memory, *where)


def own_parameter(parameter: Parameter, memo: dict[int, Any]) -> Parameter:
    """Return the copy of a parameter with its attributes, which `copy.deepcopy` leaves out.

    Args:
        parameter: is not changed.
        memo: as for `copy.deepcopy`; a copy that is in there gets the attributes.
    """
    twin: Parameter = copy.deepcopy(parameter, memo)
    for name, value in vars(parameter).items():
        with suppress(Exception):  # one that cannot be copied stays out
            setattr(twin, name, copy.deepcopy(value, memo))
    return twin


def _attributes(module: nn.Module, *, nested: bool = False) -> Iterator[Tensor]:
    """Yield the tensors that are plain attributes of a module or of its submodules, or are in lists and such there."""
    for part in module.modules():
        values = [value for name, value in vars(part).items() if name not in ("_parameters", "_buffers")]
        yield from parts_in(values) if nested else (value for value in values if isinstance(value, Tensor))


def check_copyable(module: nn.Module, who: str) -> None:
    """Check that a module can be copied, and the copy trained. Copies no tensors.

    Args:
        module: is not changed.
        who: has the module, for errors.

    Raises:
        WiringError: it cannot; names the submodule and its attribute.
    """
    for name, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule) and any(each.requires_grad for each in part.parameters()):
            remedy = "give the module as it was before, and compile=True to compile it"
            raise WiringError(f"{who}: its {_called(name, part)} is of torch.jit, whose copies cannot train; {remedy}")
    tensors = itertools.chain(module.parameters(), module.buffers())
    held = (each for each in tensors if each.is_leaf and type(each) in (Parameter, Tensor))
    memo: dict[int, Any] = {id(each): each for each in itertools.chain(held, _attributes(module))}
    try:
        Captured(module)
        copy.deepcopy(module, dict(memo))
    except WiringError as error:
        raise WiringError(f"{who}: {error}") from None
    except Exception as error:  # a `__deepcopy__` may raise anything
        what = _culprit(module, memo) or f"module cannot be copied: {error!r}"
        raise WiringError(f"{who}, of which a network trains a copy: its {what}") from error


def _culprit(module: nn.Module, memo: dict[int, Any]) -> str | None:
    """Say which attribute of which submodule cannot be copied."""
    memo |= {id(part): part for part in module.modules()}
    for name, part in module.named_modules():
        own = dict(itertools.chain(part.named_parameters(recurse=False), part.named_buffers(recurse=False)))
        for attribute, value in (own | vars(part)).items():
            try:
                copy.deepcopy(value, dict(memo))
            except Exception as error:  # noqa: BLE001 - likewise
                what, why = type(value).__name__, str(error).partition(". ")[0]
                remedy = f"leave the {what} out in a __getstate__ and make it when first needed, or detach its tensors"
                return f"{_called(name, part)} has {attribute!r}, which cannot be copied ({why}); {remedy}"
    return None


def _called(name: str, part: nn.Module) -> str:
    return f"module {name!r}" if name else type(part).__name__
