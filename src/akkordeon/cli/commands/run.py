"""`akkordeon run`: training and validation sentinels on one network in this process, and a test at the end."""

import dataclasses
import logging
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial

from akkordeon.cli.output import Output
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.options import RunOptions
from akkordeon.cli.plan import Plan, plan
from akkordeon.cli.recipe import load
from akkordeon.engines import Threads
from akkordeon.errors import ActorNotFound, AkkordeonError, SaveFailed
from akkordeon.events import Report
from akkordeon.launching import launch
from akkordeon.network import Network
from akkordeon.sentinel import Sentinel
from akkordeon.cli.every import Every

__all__ = ["Run", "run"]

logger = logging.getLogger(__name__)


def run(options: RunOptions, output: Output, interrupts: Interrupts) -> int:
    """Train a recipe.

    Returns:
        The exit code: 0, or what the signal that ended it asks for.

    Raises:
        AkkordeonError: a wrong input, or training failed.
    """
    given = {"lr": options.lr, "batch_size": options.batch_size, "folder": options.data}
    planned = plan(load(options, given), options)
    engine = None if options.workers is None else Threads(options.workers)
    begin = partial(launch, weights=options.weights, resume=options.resume, max_staleness=options.max_staleness)
    with begin(planned.gates, engine=engine) as network:
        course = Run(network, planned, options, output, interrupts)
        course.prepare()
        with interrupts.gently(course.drain), output.watching(network.status):
            course.train()
            course.keep()
            course.judge()
            course.advise()
    reached = {} if options.until is None else {"reached": course.reached}
    advice = {"advice": course.advice} if course.advice else {}
    output.event("done", seconds=course.seconds, **reached, **advice)
    return interrupts.code or 0


class Run:
    """One run: trains, keeps what was learned, and measures it at the end."""

    def __init__(
        self, network: Network, plan: Plan, options: RunOptions, output: Output, interrupts: Interrupts
    ) -> None:
        self.seconds = 0.0
        self.reached = False
        self.advice = ""
        self._network = network
        self._plan = plan
        self._options = options
        self._output = output
        self._interrupts = interrupts

    def prepare(self) -> None:
        """Make sure, before anything is learned, that it can be kept where that was asked for.

        Raises:
            SaveFailed: nothing can be written there.
        """
        for option, path in (("--save", self._options.save), ("--export", self._options.export)):
            if path is None:
                continue
            folder = next(each for each in (path, *path.absolute().parents) if each.is_dir())
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                reason = error.strerror or error
                raise SaveFailed(
                    f"{option} {path}: nothing can be written to {folder}: {reason}; name another"
                ) from error

    def train(self) -> None:
        """Train until all training sentinels have ended, the goal is reached, or the user wants to stop."""
        began = time.monotonic()
        try:
            self._train()
        except AkkordeonError as error:
            if self._interrupts.code is None:
                raise
            self._output.error(error)  # what goes wrong on leaving must not cost what was learned
        self.seconds = time.monotonic() - began
        self._output.say(f"trained for {self.seconds:.1f} s")
        if self._options.until is not None and not self.reached:
            self._output.say(f"{self._options.until} was not reached")

    def _train(self) -> None:
        with ExitStack() as stack:
            if self._options.save_every is not None:
                stack.enter_context(Every(self._options.save_every, self._save_or_warn))
            for report in self._reports([*self._plan.training, self._plan.validation]):
                self._output.report(report)
                self._finish(report)
                if self._reaches(report):
                    self.reached = True
                    break
        self._detach([*self._plan.training, self._plan.validation])
        self._show([])

    def keep(self) -> None:
        """Save and export, where that was asked for."""
        if self._options.save is not None:
            path = self._network.save(self._options.save)
            self._output.event("saved", path=path)
            self._output.say(f"saved to {path}")
        if self._options.export is not None:
            self._network.export(self._options.export)
            self._output.event("exported", path=self._options.export)
            self._output.say(f"weights written to {self._options.export}")

    def judge(self) -> None:
        """Validate what came out, and test it."""
        for last in (dataclasses.replace(self._plan.validation, every=None), self._plan.test):
            if self._interrupts.code is None:
                self._show([last])

    def advise(self) -> None:
        """Say which gates to merge, where they compute too little to be worth an actor each."""
        if self._interrupts.code is not None:
            return
        with suppress(AkkordeonError):  # it is no more than advice
            self.advice = self._network.status().advice
        if self.advice:
            self._output.say(self.advice)

    def drain(self) -> None:
        """Bring all sentinels to an end; called in another thread when the user wants to stop."""
        self._output.stop_watching()
        self._output.warn("stopping: waiting for the batches in flight (Ctrl-C again leaves at once)")
        try:
            self._detach([*self._plan.training, self._plan.validation, self._plan.test])
        except AkkordeonError as error:
            self._output.error(error)

    def _reports(self, sentinels: Sequence[Sentinel]) -> Iterable[Report]:
        for sentinel in sentinels:
            self._network.attach(sentinel)
        if self._interrupts.code is not None:  # the signal came before they were there to be detached
            self._detach(sentinels)
        return self._network.watch()

    def _show(self, sentinels: Sequence[Sentinel]) -> None:
        for report in self._reports(sentinels):
            self._output.report(report)

    def _detach(self, sentinels: Iterable[Sentinel]) -> None:
        for sentinel in sentinels:
            with suppress(ActorNotFound):  # it may not have been attached yet
                self._network.detach(sentinel.name)

    def _reaches(self, report: Report) -> bool:
        goal = self._options.until
        if goal is None or report.kind != "validate":
            return False
        value = report.loss if goal.figure == "loss" else report.metrics[goal.figure]
        return value <= goal.value if goal.at_most else value >= goal.value

    def _finish(self, report: Report) -> None:
        """Train synchronously from here on, where that was asked for the epochs that are left."""
        last, epochs = self._options.finish_synchronously, self._plan.training[0].epochs
        if last is not None and report.kind == "train" and epochs is not None and report.epoch == epochs - last:
            with suppress(ActorNotFound):  # it was so fast that it has left
                self._network.set(report.sentinel, in_flight=1)

    def _save_or_warn(self) -> None:
        assert self._options.save is not None
        try:
            path = self._network.save(self._options.save)
        except (AkkordeonError, OSError) as error:  # the disk may be full for now; training is worth more
            logger.warning("could not save to %s: %s", self._options.save, error)
        else:
            self._output.event("saved", path=path)
