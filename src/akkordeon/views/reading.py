"""Reads run folders: what a run was, and its events, also while they are being written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from akkordeon.errors import RunUnreadable

RUN_FILE, EVENTS_FILE = "run.json", "events.jsonl"

Plain = dict[str, Any]
"""An event as values of JSON: "t" are the seconds since recording began, "event" is the kind."""


class Tail:
    """Reads the events of a run folder: those that are there, then those that come.

    Args:
        folder: of the run.

    Raises:
        RunUnreadable: there is no run in the folder; says what is.
    """

    def __init__(self, folder: Path | str) -> None:
        self._path = Path(folder) / EVENTS_FILE
        self._rest = b""
        self._began: float | None = None  # of the first run in the folder
        self._shift = 0.0
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise RunUnreadable(f"{folder} holds no run: {EVENTS_FILE}: {error.strerror or error}") from error

    def read(self) -> Iterator[Plain]:
        """Yield the events that were added since the last time; lines that are damaged are left out."""
        while block := self._file.read(2**20):
            *lines, self._rest = (self._rest + block).split(b"\n")
            for line in lines:
                if (event := self._event(line)) is not None:
                    yield event

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _event(self, line: bytes) -> Plain | None:
        try:
            values = json.loads(line)
        except ValueError:
            return None  # a process was killed while it wrote this
        if not isinstance(values, dict):
            return None
        if "began" in values:  # another run in the same folder; its seconds begin with 0 again
            self._began = values["began"] if self._began is None else self._began
            self._shift = values["began"] - self._began
        if "event" not in values:
            return None
        values["t"] = values.get("t", 0.0) + self._shift
        return values


def read_events(folder: Path | str) -> Iterator[Plain]:
    """Yield the events of a run.

    Raises:
        RunUnreadable: there is no run in the folder.
    """
    tail = Tail(folder)
    try:
        yield from tail.read()
    finally:
        tail.close()


def read_run(folder: Path | str) -> dict[str, Any]:
    """Return what a run was, as `run.json` says; nothing where that is missing or damaged."""
    try:
        about = json.loads((Path(folder) / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def newest_run(runs: Path) -> Path:
    """Return the run folder in `runs` that was written last.

    Raises:
        RunUnreadable: there is none.
    """
    found = [file for file in runs.glob(f"*/{EVENTS_FILE}") if file.is_file()]
    if not found:
        raise RunUnreadable(f"there is no run in {runs}; name the folder of one, or make one: akkordeon run mnist")
    return max(found, key=lambda file: file.stat().st_mtime).parent
