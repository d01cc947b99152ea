"""Writes the events of a network for other tools: TensorBoard, tables, Weights & Biases."""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from akkordeon.errors import WiringError
from akkordeon.messages.reports import Report, SentinelStatus
from akkordeon.messages.states import GateStatus
from akkordeon.network.events import Event


def figures(event: Event) -> Iterator[tuple[str, int, float]]:
    """Yield the numbers in an event: the name of a series, its step, and the value.

    Steps are epochs for what a sentinel reports, batches for the losses of single batches, and updates for gates.
    """
    record = event.record
    if isinstance(record, Report):
        values = {"loss": record.loss, **record.metrics, "seconds": record.seconds}
        for name, value in values.items():
            yield f"{record.sentinel}/{name}", record.epoch, value
    elif isinstance(record, SentinelStatus):
        for batch, loss in record.losses:
            yield f"{record.name}/batch loss", batch, loss
    elif isinstance(record, GateStatus):
        yield f"{record.name}/staleness", record.version, record.staleness.mean
        yield f"{record.name}/gradient norm", record.version, record.gradient_norm


class Csv:
    """Writes one row per number: seconds, series, step, value. Any program that reads tables can pick from them.

    Args:
        file: is written anew.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, file: Path | str) -> None:
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["seconds", "series", "step", "value"])

    def write(self, event: Event) -> None:
        """Write the numbers of an event."""
        self._rows.writerows((f"{event.seconds:.3f}", *figure) for figure in figures(event))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Writes scalars for TensorBoard, by its own writer.

    Args:
        folder: gets a file of events.

    Raises:
        WiringError: TensorBoard is not installed; says how to install it.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
        except ImportError:
            raise WiringError(
                "TensorBoard is not installed; install it: pip install 'akkordeon[tensorboard]'"
            ) from None
        self._writer: Any = SummaryWriter(str(folder))

    def write(self, event: Event) -> None:
        """Write the numbers of an event."""
        for name, step, value in figures(event):
            if math.isfinite(value):
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class Wandb:
    """Logs to Weights & Biases, by its own library.

    Args:
        project: where the run is shown.
        mode: "online" or "offline"; None is as the environment says.
        settings: further ones of the run, shown with it.

    Raises:
        WiringError: it is not installed; says how to install it.
    """

    def __init__(
        self,
        project: str,
        *,
        mode: Literal["online", "offline"] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        try:
            import wandb  # noqa: PLC0415 - an extra
        except ImportError:
            raise WiringError("Weights & Biases is not installed; install it: pip install 'akkordeon[wandb]'") from None
        self._run: Any = wandb.init(project=project, mode=mode, config=dict(settings or {}))

    def write(self, event: Event) -> None:
        """Log the numbers of an event, each with its own step, since those of several series do not run together."""
        for name, step, value in figures(event):
            self._run.log({name: value, f"{name} step": step, "seconds": event.seconds})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
