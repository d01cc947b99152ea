"""Keeps the best save of a run, by a figure of its reports, and ends training when it gets no better."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

from akkordeon.errors import AkkordeonError, WiringError
from akkordeon.messages.reports import Report

logger = logging.getLogger(__name__)

FOLDER = "best"
"""In a run folder: where the best save is."""


class Best:
    """The best save of a run so far.

    Args:
        figure: "SENTINEL.FIGURE", such as "validation.accuracy"; a loss is best where it is least, anything else where
            it is largest, unless ":min" or ":max" follows.
        folder: where it is saved.
        patience: end training after so many reports in a row that are no better; None goes on.

    Attributes:
        value: of the figure; NaN before the first.
        report: that has it; None before the first.
        path: the folder.

    Raises:
        WiringError: the figure is not named like that, or the patience is not positive.
    """

    def __init__(self, figure: str, folder: Path, patience: int | None = None) -> None:
        name, _, mode = figure.partition(":")
        self._sentinel, _, self._figure = name.rpartition(".")
        if not self._sentinel or not self._figure or mode not in ("", "min", "max"):
            raise WiringError(
                f"keep_best={figure!r} names no figure of a sentinel; write 'validation.accuracy', or "
                "'validation.error:min' where less is better"
            )
        if patience is not None and patience < 1:
            raise WiringError(f"patience must be at least 1 report, not {patience}")
        self.value = math.nan
        self.report: Report | None = None
        self.path = folder
        self._least = mode == "min" or (not mode and self._figure == "loss")
        self._patience = patience
        self._since = 0

    def __str__(self) -> str:
        if self.report is None:
            return f"no {self._sentinel}.{self._figure} was reported"
        return f"the best {self._sentinel}.{self._figure} was {self.value:.4f}, in epoch {self.report.epoch}"

    def take(self, report: Report, save: Callable[[Path], object], stop: Callable[[], object]) -> None:
        """Save what a report is the best of so far; end training when none was better for long.

        Args:
            report: of any sentinel.
            save: saves the network in a folder; where that fails, a warning says so, and the run goes on.
            stop: ends training.

        Raises:
            WiringError: the sentinel reports no such figure; lists those that it reports.
        """
        if report.sentinel != self._sentinel or not report.complete:
            return
        figures = {"loss": report.loss, **report.metrics}
        if self._figure not in figures:
            known = ", ".join(figures)
            raise WiringError(f"keep_best: sentinel {self._sentinel!r} reports no {self._figure!r}; it reports {known}")
        if self._is_better(figures[self._figure]):
            self.value, self.report, self._since = figures[self._figure], report, 0
            try:
                save(self.path)
            except AkkordeonError as error:
                logger.warning("the best so far, epoch %d, could not be saved: %s", report.epoch, error)
            return
        self._since += 1
        if self._since == self._patience:
            logger.info("%s; none of %d reports since was better, so training ends", self, self._since)
            stop()

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        return math.isnan(self.value) or (value < self.value if self._least else value > self.value)
