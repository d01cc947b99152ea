"""`akkordeon run`: trains and validates on one network in this process, and tests it at the end."""

import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from akkordeon.cli import options, values
from akkordeon.cli.options import EPOCHS, FILES, IN_FLIGHT, SHOWN, STOP, TRAIN, VALIDATE_EVERY
from akkordeon.cli.output import Output
from akkordeon.cli.recipe import Recipe, RecipeLoader, load
from akkordeon.cli.recording import RecordingOptions
from akkordeon.errors import ActorNotFound, AkkordeonError, RecipeError, SaveFailed

if TYPE_CHECKING:
    from akkordeon.messages.reports import Report
    from akkordeon.network.network import Network
    from akkordeon.network.run_folder import RunFolder
    from akkordeon.sentinel.description import Sentinel, TestSentinel, TrainingSentinel, ValidationSentinel

    Training = list[TrainingSentinel]


RECIPE = "or the recipe's "


class RunCommand(options.LocalOptions, options.TrainingOptions, RecordingOptions):
    """Train, validate and test a recipe.

    \b
    Examples:
      akkordeon run mnist --in-flight 5 --epochs 3
      akkordeon run mnist --until accuracy=0.97 --save runs/mnist
      akkordeon run mnist --resume runs/mnist --save runs/mnist
      akkordeon run mnist --keep-best validation.accuracy --patience 5
      akkordeon run mine.py -o width=128 --lr 0.1 --seconds 60 --json

    A recipe is a Python file with gates(), batches(split, take), loss and metrics; -o sets the
    keyword arguments of its two functions. Ctrl-C lets the batches in flight return, and saves.

    In a report, "staleness stem 3.2 (3|4|5)" is the staleness of the gradients of gate stem, in
    updates: the mean, and in brackets p50, p95 and the maximum.
    """  # noqa: D301

    in_flight: Annotated[Any, options.IN_FLIGHT_OPTION] = None
    sentinels: Annotated[int, TRAIN("N", "Training sentinels at once, each on its share.", min=1)] = 1
    epochs: Annotated[int | None, STOP("N", "Passes through the data.", min=1, default=f"{EPOCHS}, {RECIPE}EPOCHS")] = (
        None
    )
    seconds: Annotated[float | None, STOP("S", "Time to train, whatever the epoch.", min=0.001)] = None
    finish_synchronously: Annotated[int | None, STOP("N", "Train the last N epochs synchronously.", min=1)] = None
    until: Annotated[
        values.Goal | None,
        STOP("GOAL", "Stop once a validation has accuracy=0.97, loss=0.1, 'x<=20'.", parser=values.goal),
    ] = None
    validate_every: Annotated[
        float | None,
        STOP("S", "Seconds between validations.", min=0.1, default=f"{VALIDATE_EVERY:g}, {RECIPE}VALIDATE_EVERY"),
    ] = None
    export: Annotated[
        Path | None, FILES("FILE", "Write the weights at the end (safetensors).", parser=values.new_file)
    ] = None
    live: Annotated[
        bool | None, SHOWN(None, "A live picture, or plain lines.", "--live/--plain", default="live in a terminal")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finish_synchronously is not None and (self._by_the_clock or self.sentinels > 1):
            raise options.refusal("--finish-synchronously", "needs --epochs, and a single training sentinel")

    @property
    def _by_the_clock(self) -> bool:
        return self.seconds is not None and self.epochs is None

    def run(self, output: Output) -> None:
        """Train, keep what was learned, and measure it."""
        recipe = load(self.recipe, self.settings, lr=self.lr, batch_size=self.batch_size, folder=self.data)
        updates, sentinels = self._describe(recipe)
        from akkordeon.network.launching import launch  # noqa: PLC0415 - imports torch

        gates, recorded = self.gates(recipe, **updates), self.recorded(recipe)
        with launch(gates, engine=self.engine(), **recorded, **self.start) as network:
            _check_writable("--save", self.save)
            _check_writable("--export", self.export)
            course = _Course(self, network, output, *sentinels)
            with output.winding_down("stopping", course.drain), output.watching(network.status, live=self.live):
                course.train()
                course.keep()
                course.measure()
                more = _kept(network, recorded["run"], output)
                advice = course.advice()
        if self.until is not None:
            more["reached"] = course.reached
        if advice:
            more["advice"] = advice
        output.event("done", seconds=course.seconds, **more)

    def _describe(self, recipe: Recipe) -> "tuple[dict[str, int], tuple[Training, ValidationSentinel, TestSentinel]]":
        """Describe all that takes part, so that errors in a recipe show before anything starts.

        Returns:
            the planned number of updates, for schedules, if it is known; and the sentinels.
        """
        import torch  # noqa: PLC0415 - takes seconds

        from akkordeon.sentinel.description import TestSentinel, TrainingSentinel, ValidationSentinel  # noqa: PLC0415

        self._check_goal(recipe)
        torch.manual_seed(self.seed)
        number = self.sentinels
        shares = [values.part_of(self.samples, (each, number)) for each in range(1, number + 1)]
        loaders = [recipe.loader("train", each, seed=self.seed) for each in shares]
        validate, test = (recipe.loader(split, slice(None), seed=self.seed) for split in ("validate", "test"))
        common: dict[str, Any] = {"loss": recipe.loss, "metrics": recipe.metrics, "time_limit": self.time_limit}
        epochs = None if self._by_the_clock else self.epochs or recipe.default("EPOCHS", EPOCHS)
        synchronously = epochs is not None and (self.finish_synchronously or 0) >= epochs
        in_flight = 1 if synchronously else self.in_flight or recipe.default("IN_FLIGHT", IN_FLIGHT)
        how = common | {"in_flight": in_flight, "epochs": epochs, "seconds": self.seconds}
        training = []
        for each, loader in enumerate(loaders):
            name = "train" if number == 1 else f"train-{each + 1}"
            training.append(TrainingSentinel(name, loader, **how, seed=self.seed + each))
        every = self.validate_every or recipe.default("VALIDATE_EVERY", VALIDATE_EVERY)
        validation = ValidationSentinel("validation", validate, every=every, **common)
        testing = TestSentinel("test", test, outputs=False, **common)
        return _updates(epochs, loaders), (training, validation, testing)

    def _check_goal(self, recipe: Recipe) -> None:
        figures, best = ["loss", *recipe.metrics], self.keep_best
        asked = [] if self.until is None else [(f"--until {self.until}", self.until.figure)]
        asked += [] if best is None else [(f"--keep-best {best}", best.partition(":")[0].rpartition(".")[2])]
        for option, figure in asked:
            if figure not in figures:
                known = ", ".join(figures)
                raise RecipeError(f"{option}: {recipe.name} does not report {figure!r}; it reports {known}")


def _kept(network: "Network", run: "RunFolder | None", output: Output) -> dict[str, object]:
    """Say where the run and its best save are kept."""
    kept: dict[str, object] = {}
    if run is not None and run.is_open:
        kept["run"] = run.path
        output.say(f"the run is kept in {run.path}; to look at it: akkordeon page {run.path}")
    if network.best is not None:
        output.say(f"{network.best}, and is kept in {network.best.path}")
    return kept


def _updates(epochs: int | None, loaders: list[RecipeLoader]) -> dict[str, int]:
    """Return the planned number of updates, for schedules; nothing where it is unknown."""
    lengths = [each.length for each in loaders if each.length is not None]
    return {} if epochs is None or len(lengths) < len(loaders) else {"updates": epochs * sum(lengths)}


def _check_writable(option: str, path: Path | None) -> None:
    """Check, before anything is learned, that it can be kept: the permissions do not tell everything.

    Raises:
        SaveFailed: nothing can be written there.
    """
    if path is None:
        return
    folder = next(each for each in (path, *path.absolute().parents) if each.is_dir())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise SaveFailed(f"{option} {path}: cannot write to {folder}: {reason}; name another folder") from error


@dataclass
class _Course:
    """The course of a run.

    Attributes:
        seconds: spent on training.
        reached: whether a validation reached the goal.
    """

    command: RunCommand
    network: "Network"
    output: Output
    training: "Training"
    validation: "ValidationSentinel"
    test: "TestSentinel"
    seconds: float = 0.0
    reached: bool = False

    def train(self) -> None:
        """Train until all training sentinels have ended, the goal is reached, or the user wants to stop."""
        start = time.monotonic()
        try:
            self._train()
        except AkkordeonError as error:
            if self.output.interrupts.code is None:
                raise
            self.output.error(error)  # an error on leaving must not cost what was learned
        self.seconds = time.monotonic() - start
        self.output.say(f"trained for {self.seconds:.1f} s")
        if self.command.until is not None and not self.reached:
            self.output.say(f"{self.command.until} was not reached")

    def _train(self) -> None:
        sentinels = [*self.training, self.validation]
        with self.command.saving(self.network, self.output):
            for report in self._reports(sentinels):
                self.output.report(report)
                self._finish(report)
                if self._reaches(report):
                    self.reached = True
                    break
        self._detach(sentinels)
        self.output.reports(self.network.watch())

    def keep(self) -> None:
        """Save and export, where that was asked for."""
        if self.command.save is not None:
            self.output.saved(self.network.save(self.command.save))
        if self.command.export is not None:
            self.network.export(self.command.export)
            self.output.exported(self.command.export)

    def measure(self) -> None:
        """Validate and test the result."""
        for last in (replace(self.validation, every=None), self.test):
            if self.output.interrupts.code is None:
                self.output.reports(self._reports([last]))

    def advice(self) -> str:
        """Show and return which gates to merge, where they compute too little to be worth an actor each."""
        advice = ""
        if self.output.interrupts.code is None:
            with suppress(AkkordeonError):  # it is no more than advice
                advice = self.network.status().advice
        if advice:
            self.output.say(advice)
        return advice

    def drain(self) -> None:
        """End all sentinels."""
        self._detach([*self.training, self.validation, self.test])

    def _reports(self, sentinels: "Sequence[Sentinel]") -> "Iterable[Report]":
        for sentinel in sentinels:
            self.network.attach(sentinel)
        if self.output.interrupts.code is not None:  # the signal came before they were there to be detached
            self._detach(sentinels)
        return self.network.watch()

    def _detach(self, sentinels: "Iterable[Sentinel]") -> None:
        for sentinel in sentinels:
            with suppress(ActorNotFound):  # it may not have been attached yet
                self.network.detach(sentinel.name)

    def _reaches(self, report: "Report") -> bool:
        goal = self.command.until
        if goal is None or report.kind != "validate":
            return False
        value = report.loss if goal.figure == "loss" else report.metrics[goal.figure]
        return value <= goal.value if goal.at_most else value >= goal.value

    def _finish(self, report: "Report") -> None:
        """Train synchronously from here on, where that was asked for the epochs that are left."""
        last, epochs = self.command.finish_synchronously, self.training[0].epochs
        if last is not None and report.kind == "train" and epochs is not None and report.epoch == epochs - last:
            with suppress(ActorNotFound):  # it was so fast that it has left
                self.network.set(report.sentinel, in_flight=1)
