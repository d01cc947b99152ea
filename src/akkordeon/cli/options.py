"""Options that several commands share, and the base class of commands. Imports neither torch nor Ray."""

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from akkordeon.cli.every import Every
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.output import Output
from akkordeon.cli.recipe import BUILT_IN, Recipe
from akkordeon.cli.values import (
    NETWORK,
    Where,
    certificates_folder,
    existing_path,
    new_folder,
    part_of,
    ray_address_of,
    saved_folder,
    setting_of,
    share_of,
    take_of,
    weights_file,
    where_of,
)
from akkordeon.errors import AkkordeonError, RecipeError

if TYPE_CHECKING:
    from akkordeon.gate import Gate
    from akkordeon.network import Network

logger = logging.getLogger(__name__)

EPOCHS, IN_FLIGHT, VALIDATE_EVERY = 10, 5, 2.0
"""Used where neither an option nor a constant of this name in the recipe says otherwise."""

GROUPS = DATA, TRAINING, STOP, FILES, REACH, SHOWN = (
    "Recipe and data",
    "Training",
    "When to stop",
    "Load and save",
    "Network",
    "Output",
)
"""Titles under which help lists options, in this order."""


def on(group: str, *names: str, **settings: Any) -> Any:
    """Return an option of a group."""
    return typer.Option(*names, rich_help_panel=group, **settings)


def refusal(option: str, why: str) -> typer.BadParameter:
    """Return the error for an option that does not go with the others."""
    return typer.BadParameter(why, param_hint=f"'{option}'")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its fields are the options, its docstring is the help, `run` is the body.

    typer makes one from the command line; `akkordeon.cli.app` runs it.
    """

    json: Annotated[bool, on(SHOWN, "--json", help="Print one JSON object per line.")] = False
    debug: Annotated[bool, on(SHOWN, "--debug", envvar="AKKORDEON_DEBUG", help="Show tracebacks of errors.")] = False

    def __post_init__(self) -> None:
        """Refuse options that do not go together."""

    def run(self, output: Output, interrupts: Interrupts) -> int:
        """Do the work and return the exit code."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Command):
    """Options of all commands that use a recipe."""

    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help=f"A built-in one ({', '.join(BUILT_IN)}) or a Python file.")
    ]
    settings: Annotated[
        list[Any] | None,
        on(DATA, "--option", "-o", parser=setting_of, metavar="KEY=VALUE", help="Argument of gates() or batches()."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class DataOptions(RecipeOptions):
    """Options of all commands that use the data of a recipe."""

    batch_size: Annotated[
        int | None, on(DATA, metavar="N", min=1, show_default="the recipe's", help="Samples per batch.")
    ] = None
    data: Annotated[
        Path | None,
        on(DATA, parser=existing_path, metavar="PATH", help="Data set on disk: a folder, or a text file."),
    ] = None
    take: Annotated[slice | None, on(DATA, parser=take_of, metavar="N|A:B", help="Use N samples, or A up to B.")] = None
    share: Annotated[Any, on(DATA, parser=share_of, metavar="K/N", help="Use the K-th of N disjoint shares.")] = None
    time_limit: Annotated[
        float, on(TRAINING, metavar="S", min=0.1, help="Seconds for a batch to return, or a loader to yield one.")
    ] = 30.0

    @property
    def samples(self) -> slice:
        """The samples to use."""
        take = self.take or slice(None)
        return take if self.share is None else part_of(take, self.share)


@dataclass(frozen=True, kw_only=True)
class StartOptions(Command):
    """Options of all commands that start a network."""

    resume: Annotated[Path | None, on(FILES, parser=saved_folder, metavar="DIR", help="Resume what --save wrote.")] = (
        None
    )
    weights: Annotated[
        Path | None, on(FILES, parser=weights_file, metavar="FILE", help="Start from these weights (safetensors).")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is not None and self.weights is not None:
            raise refusal("--weights", "--resume restores weights too; leave one of the two out")


@dataclass(frozen=True, kw_only=True)
class LocalOptions(DataOptions, StartOptions):
    """Options of all commands that run a network in this process."""

    workers: Annotated[
        int | None, on(TRAINING, metavar="N", min=1, show_default="one per core", help="Compute threads.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RecipeOptions, StartOptions):
    """Options of all commands that make gates to be trained."""

    lr: Annotated[
        float | None, on(TRAINING, metavar="RATE", min=0.0, show_default="the recipe's", help="Learning rate.")
    ] = None
    seed: Annotated[int, on(TRAINING, metavar="N", help="Seed for initial weights and shuffling.")] = 0
    max_staleness: Annotated[
        int | None, on(TRAINING, metavar="N", min=0, help="Bound on staleness, in updates; 0 is synchronous.")
    ] = None
    compensation: Annotated[
        str | None,
        on(
            TRAINING,
            metavar="NAME,…",
            show_default="each gate's own",
            help="Staleness compensation for every gate: none, linear (SGD+momentum), rate (Adam), …",
        ),
    ] = None
    save: Annotated[
        Path | None, on(FILES, parser=new_folder, metavar="DIR", help="Save all that --resume needs, at the end.")
    ] = None
    save_every: Annotated[float | None, on(FILES, metavar="S", min=0.1, help="Also save every S seconds.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.save_every is not None and self.save is None:
            raise refusal("--save-every", "needs --save DIR")
        if self.resume is not None and self.lr is not None:
            raise refusal(
                "--lr",
                "--resume restores the learning rates; to start afresh from the saved weights, use "
                f"--weights {self.resume}",
            )

    def gates(self, recipe: Recipe, **offered: object) -> "list[Gate]":
        """Make the gates, seeded, with the compensations asked for.

        Args:
            recipe: describes the gates.
            offered: keyword arguments for its `gates()`, where it has such parameters.

        Raises:
            RecipeError: no compensation has this name, or `gates()` fails.
            WiringError: a compensation does not go with the optimizer of a gate, or with another compensation.
        """
        import torch  # noqa: PLC0415 - takes seconds

        from akkordeon.staleness.registry import named  # noqa: PLC0415 - imports torch

        torch.manual_seed(self.seed)
        gates = recipe.gates(seed=self.seed, **offered)
        if self.compensation is None:
            return gates
        try:
            compensations = named(self.compensation)
        except ValueError as error:
            raise RecipeError(f"--compensation: {error}") from None
        return [replace(gate, compensation=compensations) for gate in gates]

    def saving(self, network: "Network", output: Output) -> AbstractContextManager[object]:
        """While entered, save a network every so many seconds, where that was asked for."""
        folder = self.save
        if folder is None or self.save_every is None:
            return nullcontext()

        def save() -> None:
            try:
                path = network.save(folder)
            except (AkkordeonError, OSError) as error:  # the disk may be full for now; training is worth more
                logger.warning("could not save to %s: %s", folder, error)
            else:
                output.event("saved", path=path)

        return Every(self.save_every, save)


@dataclass(frozen=True, kw_only=True)
class AccessOptions(Command):
    """Options that all machines of a network share."""

    token: Annotated[
        Path | None,
        on(REACH, metavar="FILE", show_default="where akkordeon token new puts it", help="Token of the network."),
    ] = None
    tls: Annotated[
        Path | None, on(REACH, parser=certificates_folder, metavar="DIR", help="Encrypt with these certificates.")
    ] = None
    insecure: Annotated[bool, on(REACH, "--insecure", help="Use no token: anyone can run code here.")] = False
    ray_address: Annotated[
        str | None, on(REACH, parser=ray_address_of, metavar="ADDRESS", help="Use this Ray cluster of yours, or auto.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token is not None and self.insecure:
            raise refusal("--insecure", "excludes --token; leave one of the two out")

    @property
    def access(self) -> dict[str, Any]:
        """These options as arguments of the engine."""
        return {"token": self.token, "tls": self.tls, "insecure": self.insecure, "ray_address": self.ray_address}


@dataclass(frozen=True, kw_only=True)
class ReachOptions(AccessOptions):
    """Options of all commands that use a running network."""

    network: Annotated[
        Any,
        on(
            REACH,
            parser=where_of,
            envvar="AKKORDEON_NETWORK",
            metavar="HOST:PORT[/NAME]",
            help="The network; /NAME if it has one.",
        ),
    ] = None
    address: Annotated[
        str | None, on(REACH, metavar="MY_IP", show_default="detected", help="Address of this machine for others.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network is None and self.ray_address is None:
            raise refusal("--network", "give --network HOST:PORT, or set AKKORDEON_NETWORK")

    @property
    def where(self) -> Where:
        """The network."""
        found: Where = self.network or Where(None, NETWORK)
        return found

    @property
    def title(self) -> str:
        """The network, for people."""
        return str(self.where) if self.ray_address is None else f"{self.ray_address} ({self.where.name})"
