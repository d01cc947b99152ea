"""`akkordeon sentinel`: attaches a sentinel that works here, on data here, to a network in another process."""

import itertools
import zlib
from abc import abstractmethod
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from akkordeon.cli.options import DATA, IN_FLIGHT, IN_FLIGHT_OPTION, STOP, TRAIN, DataOptions, ReachOptions
from akkordeon.cli.output import Output
from akkordeon.cli.recipe import Recipe, explaining_missing_modules, find, load
from akkordeon.cli.remote import Remote, check_reach, joined
from akkordeon.errors import AkkordeonError, WiringError

if TYPE_CHECKING:
    from akkordeon.conductor.handshake import Handshake
    from akkordeon.sentinel.description import Sentinel

ABOUT = """Train, validate or test over a network.

\b
Examples:
  akkordeon sentinel train mnist --network 192.0.2.7:25520 --take 60000
  akkordeon sentinel validate mnist --network 192.0.2.7:25520 --every 20
  akkordeon sentinel test mnist --network 192.0.2.7:25520

The data are here; the gates are where akkordeon network opened the network, with the same recipe and settings."""


class SentinelCommand(DataOptions, ReachOptions):
    """A command that attaches a sentinel, and shows its reports until it has left."""

    kind: ClassVar[str]

    name: Annotated[str | None, DATA("NAME", "Name of the sentinel.", default="its kind and a number")] = None
    in_flight: Annotated[int | None, TRAIN("N", "Batches in flight.", min=1, default="4")] = None
    seed: Annotated[int | None, DATA("N", "Seed for shuffling.", default="one for each name")] = None

    @abstractmethod
    def describe(self, recipe: Recipe, name: str) -> "Sentinel":
        """Describe the sentinel, under a name."""

    def run(self, output: Output) -> None:
        """Attach the sentinel, and show its reports."""
        find(self.recipe)
        check_reach(self)
        folder = None if self.data is None else self.data.absolute()
        recipe = load(self.recipe, self.settings, batch_size=self.batch_size, folder=folder)
        from akkordeon.conductor.handshake import own_handshake, shapes  # noqa: PLC0415
        from akkordeon.sentinel.batch import as_pair  # noqa: PLC0415 - imports torch

        first = recipe.first(recipe.data(self.kind, self.samples), self.kind)
        x, target = as_pair(first, with_target=self.kind != "test")
        gates = recipe.gates()
        known = own_handshake(gates, shapes(x), None if target is None or isinstance(target, list) else shapes(target))
        with joined(self, output, gates, recipe.ship) as remote:
            name = self._attach(remote, recipe, known)
            output.tell(f"{name} has joined; Ctrl-C lets it leave", "attached", sentinel=name)
            with output.winding_down("leaving", partial(remote.network.detach, name)):
                _show(remote, name, output)
        output.event("done", sentinel=name)

    def _attach(self, remote: Remote, recipe: Recipe, known: "Handshake") -> str:
        """Attach the sentinel, under the first name that is free where none was given; return the name."""
        for number in itertools.count(1):
            name = self.name or (self.kind if number == 1 else f"{self.kind}-{number}")
            try:
                with explaining_missing_modules(f"the sentinel of {self.recipe}"):
                    remote.network.attach(self.describe(recipe, name), known)
            except WiringError:
                if self.name is not None or name not in remote.network.attached():
                    raise
            else:
                return name
        raise AssertionError

    def common(self, recipe: Recipe, name: str) -> dict[str, Any]:
        """Return the arguments that sentinels of all kinds have."""
        data = recipe.data(self.kind, self.samples, seed=self.seed_of(name))
        window = {} if self.in_flight is None else {"in_flight": self.in_flight}
        return {"data": data, "loss": recipe.loss, "metrics": recipe.metrics, "time_limit": self.time_limit, **window}

    def seed_of(self, name: str) -> int:
        """Return the seed, another one for each name: two sentinels must not draw the same batches in one order."""
        return zlib.crc32(name.encode()) if self.seed is None else self.seed


class TrainCommand(SentinelCommand):
    """Train a network with the data here.

    \b
    Examples:
      akkordeon sentinel train mnist --network 192.0.2.7:25520 --take 60000
      akkordeon sentinel train mnist --network 192.0.2.7:25520 --share 2/3 --epochs 10
      akkordeon sentinel train mine.py -o width=128 --in-flight 5 --seconds 60

    Without --epochs or --seconds it trains until Ctrl-C, which lets the batches in flight
    return; the network and its other sentinels go on.
    """  # noqa: D301

    kind = "train"

    in_flight: Annotated[Any, IN_FLIGHT_OPTION] = None
    epochs: Annotated[int | None, STOP("N", "Passes through the data.", min=1, default="until Ctrl-C")] = None
    seconds: Annotated[float | None, STOP("S", "Time to train.", min=0.001, default="until Ctrl-C")] = None

    def describe(self, recipe: Recipe, name: str) -> "Sentinel":
        """Describe a sentinel that trains."""
        from akkordeon.sentinel.description import TrainingSentinel  # noqa: PLC0415 - imports torch

        how = {"in_flight": recipe.default("IN_FLIGHT", IN_FLIGHT), "epochs": self.epochs, "seconds": self.seconds}
        return TrainingSentinel(name, seed=self.seed_of(name), **(how | self.common(recipe, name)))


class ValidateCommand(SentinelCommand):
    """Validate a network on the data here.

    \b
    Examples:
      akkordeon sentinel validate mnist --network 192.0.2.7:25520 --every 20
      akkordeon sentinel validate mnist --network 192.0.2.7:25520

    Makes one pass over the validation data, beside the training; with --every, one every S
    seconds until Ctrl-C.
    """  # noqa: D301

    kind = "validate"

    every: Annotated[float | None, STOP("S", "Seconds between validations.", min=0.1, default="once")] = None

    def describe(self, recipe: Recipe, name: str) -> "Sentinel":
        """Describe a sentinel that validates."""
        from akkordeon.sentinel.description import ValidationSentinel  # noqa: PLC0415 - imports torch

        return ValidationSentinel(name, every=self.every, **self.common(recipe, name))


class TestSentinelCommand(SentinelCommand):
    """Test a network on the data here.

    \b
    Examples:
      akkordeon sentinel test mnist --network 192.0.2.7:25520
      akkordeon sentinel test mine.py --network 192.0.2.7:25520 --take 1000 --json
    """  # noqa: D301

    kind = "test"

    def describe(self, recipe: Recipe, name: str) -> "Sentinel":
        """Describe a sentinel that tests."""
        from akkordeon.sentinel.description import TestSentinel  # noqa: PLC0415 - imports torch

        return TestSentinel(name, outputs=False, **self.common(recipe, name))


def _show(remote: Remote, name: str, output: Output) -> None:
    """Show the reports of the sentinel until it has left.

    Raises:
        AkkordeonError: the sentinel or the network has failed, or the network is lost.
    """
    try:
        output.reports(remote.network.watch(name))
    except AkkordeonError as error:
        if (cause := remote.cause()) is not None:
            raise cause from error
        raise
    if remote.network.is_closing:
        with suppress(AkkordeonError):  # it is closing meanwhile
            remote.network.detach(name)
            output.reports(remote.network.watch(name))
        remote.lost()


KINDS = {"train": TrainCommand, "validate": ValidateCommand, "test": TestSentinelCommand}
"""The commands of this group."""
