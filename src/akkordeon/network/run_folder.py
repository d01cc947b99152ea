"""Keeps what a run was and what happened in it in a folder, which every later view reads."""

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from akkordeon.messages.plain import plain
from akkordeon.network.events import Event
from akkordeon.saving import packages
from akkordeon.views.reading import EVENTS_FILE, RUN_FILE

logger = logging.getLogger(__name__)

SCHEMA = 2
"""Of `run.json` and `events.jsonl`; a reader of a later version knows what those of an earlier one look like."""

BYTES_PER_SECOND = 4_000
"""Of samples, in the long run: with all else, below 20 MB per hour, however large the network."""

BURST = 200_000
"""Bytes of samples that may come before that counts, so that the beginning of a run is kept in full."""


class RunFolder:
    """Writes `run.json` when the network is there, and `events.jsonl` as events come: a sink.

    Each line is flushed, so that a process that is killed leaves all that came before. Samples of gates and sentinels
    are thinned to `BYTES_PER_SECOND`; what else happens is always kept.

    Args:
        folder: is made; where it holds a run already, the events of this one follow those of that one.
        about: what else is to be known of the run, as JSON: no secrets.

    Attributes:
        path: of the folder.
    """

    def __init__(self, folder: Path | str, about: Mapping[str, Any] | None = None) -> None:
        self.path = Path(folder)
        self._about = dict(about or {})
        self._file: TextIO | None = None
        self._credit, self._last = float(BURST), time.monotonic()
        self._thinned = 0

    @property
    def is_open(self) -> bool:
        """Whether it could be begun."""
        return self._file is not None

    def open(self) -> None:
        """Begin.

        Raises:
            OSError: nothing can be written there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        began = datetime.now(UTC)
        known = {"schema": SCHEMA, "began": began.isoformat(timespec="seconds"), "machine": machine()}
        text = json.dumps(plain({**known, "packages": packages(), **self._about}), indent=2)
        (self.path / RUN_FILE).write_text(text + "\n", encoding="utf-8")
        self._file = (self.path / EVENTS_FILE).open("a", encoding="utf-8")
        self._write({"schema": SCHEMA, "began": began.timestamp()})

    def write(self, event: Event) -> None:
        """Write an event as one line, unless it is a sample too many."""
        values = event.plain()
        if event.kind in ("gate", "sentinel") and not self._affords(values):
            self._thinned += 1
            return
        if self._thinned:
            values["thinned"], self._thinned = self._thinned, 0
        self._write(values)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _affords(self, values: Mapping[str, Any]) -> bool:
        now = time.monotonic()
        self._credit = min(BURST, self._credit + BYTES_PER_SECOND * (now - self._last))
        self._last = now
        if self._credit < 0:
            return False
        self._credit -= len(json.dumps(values))
        return True

    def _write(self, values: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(values, separators=(",", ":")) + "\n")
        self._file.flush()


def opened(run: Path | str | RunFolder) -> list[RunFolder]:
    """Return the folder of a run, opened; none, with a warning, where it cannot be written."""
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    try:
        folder.open()
    except OSError as error:
        logger.warning("cannot keep this run in %s: %s; it goes on without", folder.path, error.strerror or error)
        return []
    return [folder]


def machine() -> dict[str, Any]:
    """Describe this machine in plain values."""
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }
