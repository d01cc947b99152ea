"""`akkordeon run`: trains and validates on one network in this process, and tests it at the end."""

import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.options import (
    EPOCHS,
    FILES,
    IN_FLIGHT,
    SHOWN,
    STOP,
    TRAINING,
    VALIDATE_EVERY,
    LocalOptions,
    TrainingOptions,
    on,
    refusal,
)
from akkordeon.cli.output import Output
from akkordeon.cli.recipe import Loader, Recipe, load
from akkordeon.cli.values import Goal, goal_of, in_flight_of, new_file, part_of
from akkordeon.errors import ActorNotFound, AkkordeonError, RecipeError, SaveFailed

if TYPE_CHECKING:
    from akkordeon.events import Report
    from akkordeon.gate import Gate
    from akkordeon.network import Network
    from akkordeon.sentinel import Sentinel, TestSentinel, TrainingSentinel, ValidationSentinel


@dataclass(frozen=True, kw_only=True)
class RunCommand(LocalOptions, TrainingOptions):
    """Train, validate and test a recipe.

    \b
    Examples:
      akkordeon run mnist --in-flight 5 --epochs 3
      akkordeon run mnist --until accuracy=0.97 --save runs/mnist
      akkordeon run mnist --resume runs/mnist --save runs/mnist
      akkordeon run mine.py -o width=128 --lr 0.1 --seconds 60 --json

    A recipe is a Python file with gates(), batches(split, take), loss and metrics; -o sets the
    keyword arguments of its two functions. Ctrl-C lets the batches in flight return, and saves.

    In a report, "staleness stem 3.2 (3|4|5)" is the staleness of the gradients of gate stem, in
    updates: the mean, and in brackets p50, p95 and the maximum.
    """  # noqa: D301

    in_flight: Annotated[
        Any,
        on(
            TRAINING,
            parser=in_flight_of,
            metavar="N|auto",
            show_default=f"{IN_FLIGHT}, or the recipe's IN_FLIGHT",
            help="Batches in flight; 1 is synchronous training, auto as few as keep all busy.",
        ),
    ] = None
    sentinels: Annotated[
        int, on(TRAINING, metavar="N", min=1, help="Training sentinels at once, each on its share.")
    ] = 1
    epochs: Annotated[
        int | None,
        on(
            STOP,
            metavar="N",
            min=1,
            show_default=f"{EPOCHS}, or the recipe's EPOCHS",
            help="Passes through the data.",
        ),
    ] = None
    seconds: Annotated[float | None, on(STOP, metavar="S", min=0.001, help="Time to train, whatever the epoch.")] = None
    finish_synchronously: Annotated[
        int | None, on(STOP, metavar="N", min=1, help="Train the last N epochs synchronously.")
    ] = None
    until: Annotated[
        Goal | None,
        on(STOP, parser=goal_of, metavar="GOAL", help="Stop once a validation has accuracy=0.97, loss=0.1, 'x<=20'."),
    ] = None
    validate_every: Annotated[
        float | None,
        on(
            STOP,
            metavar="S",
            min=0.1,
            show_default=f"{VALIDATE_EVERY:g}, or the recipe's VALIDATE_EVERY",
            help="Seconds between validations.",
        ),
    ] = None
    export: Annotated[
        Path | None, on(FILES, parser=new_file, metavar="FILE", help="Write the weights at the end (safetensors).")
    ] = None
    live: Annotated[
        bool | None,
        on(SHOWN, "--live/--plain", show_default="live in a terminal", help="A live picture, or plain lines."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finish_synchronously is not None and (self._by_the_clock or self.sentinels > 1):
            raise refusal("--finish-synchronously", "needs --epochs, and a single training sentinel")

    @property
    def _by_the_clock(self) -> bool:
        return self.seconds is not None and self.epochs is None

    def run(self, output: Output, interrupts: Interrupts) -> int:
        """Train, keep what was learned, and measure it."""
        recipe = load(self.recipe, self.settings, lr=self.lr, batch_size=self.batch_size, folder=self.data)
        plan = self._plan(recipe)
        from akkordeon.engines import Threads  # noqa: PLC0415 - imports torch
        from akkordeon.launching import launch  # noqa: PLC0415

        engine = None if self.workers is None else Threads(self.workers)
        start = {"weights": self.weights, "resume": self.resume, "max_staleness": self.max_staleness}
        with launch(plan.gates, engine=engine, **start) as network:  # type: ignore[arg-type]
            _check_writable("--save", self.save)
            _check_writable("--export", self.export)
            course = _Course(self, plan, network, output, interrupts)
            with interrupts.gently(course.drain), output.watching(network.status, live=self.live):
                course.train()
                course.keep()
                course.measure()
                advice = course.advice()
        reached = {} if self.until is None else {"reached": course.reached}
        output.event("done", seconds=course.seconds, **reached, **({"advice": advice} if advice else {}))
        return interrupts.code or 0

    def _plan(self, recipe: Recipe) -> "_Plan":
        """Describe all that takes part, so that errors in a recipe show before anything starts."""
        import torch  # noqa: PLC0415 - takes seconds

        from akkordeon.sentinel import TestSentinel, ValidationSentinel  # noqa: PLC0415

        if self.until is not None and self.until.figure not in (figures := ["loss", *recipe.metrics]):
            raise RecipeError(
                f"--until {self.until}: {recipe.name} does not report {self.until.figure!r}; it reports "
                f"{', '.join(figures)}"
            )
        torch.manual_seed(self.seed)
        shares = [part_of(self.samples, (number, self.sentinels)) for number in range(1, self.sentinels + 1)]
        data = [recipe.loader("train", share, seed=self.seed) for share in shares]
        training = [self._training(recipe, number, each) for number, each in enumerate(data, 1)]
        validate, test = (recipe.loader(split, slice(None), seed=self.seed) for split in ("validate", "test"))
        every = self.validate_every or recipe.default("VALIDATE_EVERY", VALIDATE_EVERY)
        common = {"loss": recipe.loss, "metrics": recipe.metrics, "time_limit": self.time_limit}
        return _Plan(
            self.gates(recipe, **_updates(training, data)),
            training,
            ValidationSentinel("validation", validate, every=every, **common),
            TestSentinel("test", test, outputs=False, **common),
        )

    def _training(self, recipe: Recipe, number: int, data: Loader) -> "TrainingSentinel":
        from akkordeon.sentinel import TrainingSentinel  # noqa: PLC0415 - imports torch

        epochs = None if self._by_the_clock else self.epochs or recipe.default("EPOCHS", EPOCHS)
        in_flight = self.in_flight or recipe.default("IN_FLIGHT", IN_FLIGHT)
        synchronously = epochs is not None and (self.finish_synchronously or 0) >= epochs
        return TrainingSentinel(
            "train" if self.sentinels == 1 else f"train-{number}",
            data,
            recipe.loss,
            recipe.metrics,
            in_flight=1 if synchronously else in_flight,
            epochs=epochs,
            seconds=self.seconds,
            time_limit=self.time_limit,
            seed=self.seed + number - 1,
        )


@dataclass(frozen=True)
class _Plan:
    """All that takes part in a run."""

    gates: "list[Gate]"
    training: "list[TrainingSentinel]"
    validation: "ValidationSentinel"
    test: "TestSentinel"


def _updates(training: "list[TrainingSentinel]", data: list[Loader]) -> dict[str, int]:
    """Return the planned number of updates, for schedules; nothing where it is unknown."""
    planned = [
        sentinel.epochs * each.length
        for sentinel, each in zip(training, data, strict=True)
        if sentinel.epochs is not None and each.length is not None
    ]
    return {"updates": sum(planned)} if len(planned) == len(training) else {}


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
        raise SaveFailed(
            f"{option} {path}: cannot write to {folder}: {error.strerror or error}; name another folder"
        ) from error


class _Course:
    """The course of a run.

    Attributes:
        seconds: spent on training.
        reached: whether a validation reached the goal.
    """

    def __init__(
        self, command: RunCommand, plan: _Plan, network: "Network", output: Output, interrupts: Interrupts
    ) -> None:
        self.seconds = 0.0
        self.reached = False
        self._command = command
        self._plan = plan
        self._network = network
        self._output = output
        self._interrupts = interrupts

    def train(self) -> None:
        """Train until all training sentinels have ended, the goal is reached, or the user wants to stop."""
        start = time.monotonic()
        try:
            self._train()
        except AkkordeonError as error:
            if self._interrupts.code is None:
                raise
            self._output.error(error)  # an error on leaving must not cost what was learned
        self.seconds = time.monotonic() - start
        self._output.say(f"trained for {self.seconds:.1f} s")
        if self._command.until is not None and not self.reached:
            self._output.say(f"{self._command.until} was not reached")

    def _train(self) -> None:
        sentinels = [*self._plan.training, self._plan.validation]
        with self._command.saving(self._network, self._output):
            for report in self._reports(sentinels):
                self._output.report(report)
                self._finish(report)
                if self._reaches(report):
                    self.reached = True
                    break
        self._detach(sentinels)
        self._show([])

    def keep(self) -> None:
        """Save and export, where that was asked for."""
        if self._command.save is not None:
            self._output.saved(self._network.save(self._command.save))
        if self._command.export is not None:
            self._network.export(self._command.export)
            self._output.exported(self._command.export)

    def measure(self) -> None:
        """Validate and test the result."""
        for last in (replace(self._plan.validation, every=None), self._plan.test):
            if self._interrupts.code is None:
                self._show([last])

    def advice(self) -> str:
        """Show and return which gates to merge, where they compute too little to be worth an actor each."""
        advice = ""
        if self._interrupts.code is None:
            with suppress(AkkordeonError):  # it is no more than advice
                advice = self._network.status().advice
        if advice:
            self._output.say(advice)
        return advice

    def drain(self) -> None:
        """End all sentinels; called in another thread when the user wants to stop."""
        self._output.stop_watching()
        self._output.warn("stopping: waiting for the batches in flight (Ctrl-C again exits at once)")
        try:
            self._detach([*self._plan.training, self._plan.validation, self._plan.test])
        except AkkordeonError as error:
            self._output.error(error)

    def _reports(self, sentinels: "Sequence[Sentinel]") -> "Iterable[Report]":
        for sentinel in sentinels:
            self._network.attach(sentinel)
        if self._interrupts.code is not None:  # the signal came before they were there to be detached
            self._detach(sentinels)
        return self._network.watch()

    def _show(self, sentinels: "Sequence[Sentinel]") -> None:
        for report in self._reports(sentinels):
            self._output.report(report)

    def _detach(self, sentinels: "Iterable[Sentinel]") -> None:
        for sentinel in sentinels:
            with suppress(ActorNotFound):  # it may not have been attached yet
                self._network.detach(sentinel.name)

    def _reaches(self, report: "Report") -> bool:
        goal = self._command.until
        if goal is None or report.kind != "validate":
            return False
        value = report.loss if goal.figure == "loss" else report.metrics[goal.figure]
        return value <= goal.value if goal.at_most else value >= goal.value

    def _finish(self, report: "Report") -> None:
        """Train synchronously from here on, where that was asked for the epochs that are left."""
        last, epochs = self._command.finish_synchronously, self._plan.training[0].epochs
        if last is not None and report.kind == "train" and epochs is not None and report.epoch == epochs - last:
            with suppress(ActorNotFound):  # it was so fast that it has left
                self._network.set(report.sentinel, in_flight=1)
