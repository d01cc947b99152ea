"""The command line and the files of a benchmark: every folder has the same ones."""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def parser(package: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m PACKAGE`; the description is shown with its line breaks."""
    return argparse.ArgumentParser(
        prog=f"python -m {package}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def read_results(folder: Path) -> Any:
    """Return the content of `results.json`, or an empty dictionary if there is none."""
    file = folder / "results.json"
    return json.loads(file.read_text()) if file.exists() else {}


def write_results(folder: Path, results: object) -> None:
    """Write `results.json`."""
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def write_table(folder: Path, lines: Iterable[str]) -> None:
    """Write `table.md`, and print it."""
    text = "\n".join(lines)
    (folder / "table.md").write_text(text + "\n")
    print(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; all columns but the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))
