"""Options that several commands share, and the base class of commands. Imports neither torch nor Ray."""

import logging
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, dataclass_transform

import typer

from akkordeon.cli import values
from akkordeon.cli.every import Every
from akkordeon.cli.output import Output
from akkordeon.cli.recipe import BUILT_IN, Recipe
from akkordeon.engines.ray.cluster import Access, Address, Token, check_cluster, check_ray, own_address, read_token
from akkordeon.errors import AkkordeonError, NodeFailed, RecipeError, WiringError

if TYPE_CHECKING:
    from akkordeon.engines import Threads
    from akkordeon.gate.description import Gate
    from akkordeon.network.network import Network

logger = logging.getLogger(__name__)

EPOCHS, IN_FLIGHT, VALIDATE_EVERY = 10, 5, 2.0
"""Used where neither an option nor a constant of this name in the recipe says otherwise."""


def argument(metavar: str, text: str, **settings: Any) -> Any:
    """Describe an argument."""
    return typer.Argument(metavar=metavar, help=text, **settings)


def option(group: str, metavar: str | None, text: str, *names: str, default: str | None = None, **settings: Any) -> Any:
    """Describe an option.

    Args:
        group: title under which help lists it.
        metavar: stands for the value.
        text: its help.
        names: on the command line; that of the field if none is given.
        default: shown by help, where the value does not say it.
        settings: passed on to typer.
    """
    shown = True if default is None else default
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=group, show_default=shown, **settings)


GROUPS = ("Recipe and data", "Training", "When to stop", "Load and save", "Network", "Output")
DATA, TRAIN, STOP, FILES, REACH, SHOWN = (partial(option, title) for title in GROUPS)


IN_FLIGHT_OPTION = TRAIN(
    "N|auto",
    "Batches in flight; 1 is synchronous training, auto as few as keep all busy.",
    parser=values.in_flight,
    default=f"{IN_FLIGHT}, or the recipe's IN_FLIGHT",
)
"""--in-flight of training sentinels."""


def refusal(name: str, why: str) -> typer.BadParameter:
    """Return the error for an option that does not go with the others."""
    return typer.BadParameter(why, param_hint=f"'{name}'")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Fields:
    """Makes each subclass a frozen dataclass with keyword arguments."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


class Command(Fields):
    """A command: its fields are the options, its docstring is the help, `run` is the body.

    typer makes one from the command line; `akkordeon.cli.app` runs it.
    """

    json: Annotated[bool, SHOWN(None, "Print one JSON object per line.", "--json")] = False
    debug: Annotated[bool, SHOWN(None, "Show tracebacks of errors.", "--debug", envvar="AKKORDEON_DEBUG")] = False

    def __post_init__(self) -> None:
        """Refuse options that do not go together."""

    @abstractmethod
    def run(self, output: Output) -> int | None:
        """Do the work and return the exit code, or None for 0."""


class RecipeOptions(Command):
    """Options of all commands that use a recipe."""

    recipe: Annotated[str, argument("RECIPE", f"A built-in one ({', '.join(BUILT_IN)}) or a Python file.")]
    settings: Annotated[
        list[Any] | None,
        DATA("KEY=VALUE", "Argument of gates() or batches().", "--option", "-o", parser=values.setting),
    ] = None


class DataOptions(RecipeOptions):
    """Options of all commands that use the data of a recipe."""

    batch_size: Annotated[int | None, DATA("N", "Samples per batch.", min=1, default="the recipe's")] = None
    data: Annotated[Path | None, DATA("PATH", "Data set on disk: a folder, or a text file.", parser=values.path)] = None
    take: Annotated[slice | None, DATA("N|A:B", "Use N samples, or A up to B.", parser=values.take)] = None
    share: Annotated[Any, DATA("K/N", "Use the K-th of N disjoint shares.", parser=values.share)] = None
    time_limit: Annotated[float, TRAIN("S", "Seconds for a gate to compute a batch, or to load one.", min=0.1)] = 30.0

    @property
    def samples(self) -> slice:
        """The samples to use."""
        take = self.take or slice(None)
        return take if self.share is None else values.part_of(take, self.share)


class StartOptions(Command):
    """Options of all commands that start a network."""

    resume: Annotated[Path | None, FILES("DIR", "Resume what --save wrote.", parser=values.saved_folder)] = None
    weights: Annotated[Path | None, FILES("FILE", "Start from these weights (safetensors).", parser=values.file)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is not None and self.weights is not None:
            raise refusal("--weights", "--resume restores weights too; leave one of the two out")


class LocalOptions(DataOptions, StartOptions):
    """Options of all commands that run a network in this process."""

    workers: Annotated[int | None, TRAIN("N", "Compute threads.", min=1, default="one per core")] = None

    def engine(self) -> "Threads | None":
        """Make the engine; None where the default one will do."""
        from akkordeon.engines import Threads  # noqa: PLC0415 - imports torch

        return None if self.workers is None else Threads(self.workers)


class TrainingOptions(RecipeOptions, StartOptions):
    """Options of all commands that make gates to be trained."""

    lr: Annotated[float | None, TRAIN("RATE", "Learning rate.", min=0.0, default="the recipe's")] = None
    seed: Annotated[int, TRAIN("N", "Seed for initial weights and shuffling.")] = 0
    max_staleness: Annotated[int | None, TRAIN("N", "Bound on staleness, in updates; 0 is synchronous.", min=0)] = None
    compensation: Annotated[
        str | None,
        TRAIN("NAME,…", "Staleness compensation for every gate: none, linear (SGD+momentum), rate (Adam), …"),
    ] = None
    save: Annotated[
        Path | None, FILES("DIR", "Save all that --resume needs, at the end.", parser=values.new_folder)
    ] = None
    save_every: Annotated[float | None, FILES("S", "Also save every S seconds.", min=0.1)] = None

    @property
    def start(self) -> dict[str, Any]:
        """Arguments of `launch`."""
        return {"weights": self.weights, "resume": self.resume, "max_staleness": self.max_staleness}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.save_every is not None and self.save is None:
            raise refusal("--save-every", "needs --save DIR")
        if self.resume is not None and self.lr is not None:
            text = "--resume restores the learning rates; to start afresh from the saved weights, use"
            raise refusal("--lr", f"{text} --weights {self.resume}")

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
                output.event("saved", path=network.save(folder))
            except (AkkordeonError, OSError) as error:  # the disk may be full for now; training is worth more
                logger.warning("could not save to %s: %s", folder, error)

        return Every(self.save_every, save)


class AccessOptions(Command):
    """Options that all machines of a network share."""

    token: Annotated[
        Path | None, REACH("FILE", "Token of the network.", default="where akkordeon token new puts it")
    ] = None
    tls: Annotated[Path | None, REACH("DIR", "Encrypt with these certificates.", parser=values.certificates)] = None
    insecure: Annotated[bool, REACH(None, "Use no token: anyone can run code here.", "--insecure")] = False
    ray_address: Annotated[
        str | None, REACH("ADDRESS", "Use this Ray cluster of yours, or auto.", parser=values.ray_address)
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token is not None and self.insecure:
            raise refusal("--insecure", "excludes --token; leave one of the two out")

    @property
    def access(self) -> dict[str, Any]:
        """These options as arguments of the engine."""
        return {"access": Access(self.token, self.tls, self.insecure), "ray_address": self.ray_address}

    def token_for(self, address: Address) -> Token | None:
        """Read the token, where one is needed.

        Raises:
            TokenUnusable: there is none.
        """
        return None if address.is_loopback or self.insecure else read_token(self.token)

    def check_installed(self) -> None:
        """Check that Ray is installed, and that the user's own cluster is there, where one is named.

        Raises:
            WiringError: Ray is missing.
            Unreachable: there is no such cluster.
        """
        try:
            check_ray()
        except NodeFailed as error:
            raise WiringError(str(error)) from None
        if self.ray_address is not None:
            check_cluster(self.ray_address)


class ReachOptions(AccessOptions):
    """Options of all commands that use a running network."""

    network: Annotated[
        Any,
        REACH("HOST:PORT[/NAME]", "The network; /NAME if it has one.", parser=values.where, envvar="AKKORDEON_NETWORK"),
    ] = None
    address: Annotated[str | None, REACH("MY_IP", "Address of this machine for others.", default="detected")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network is None and self.ray_address is None:
            raise refusal("--network", "give --network HOST:PORT, or set AKKORDEON_NETWORK")

    @property
    def where(self) -> values.Where:
        """The network."""
        return self.network or values.Where(None, values.NETWORK)

    def check_address(self) -> None:
        """Check that --address belongs to this machine.

        Raises:
            WiringError: it does not.
            Unreachable: there is no route to the network.
        """
        there: Address = self.network.address
        mine = own_address(there)
        if self.address is not None and not Address(self.address, there.port).is_own:
            raise WiringError(
                f"--address {self.address} is not an address of this machine; towards {there}, it is {mine}"
            )

    @property
    def title(self) -> str:
        """The network, for people."""
        return str(self.where) if self.ray_address is None else f"{self.ray_address} ({self.where.name})"
