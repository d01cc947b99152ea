"""The tour for users of notebooks runs in a kernel of its own; its cells marked "twice" may be run again, and are."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.waiting import limit

TOUR = Path(__file__).parents[2] / "examples" / "tour.ipynb"


def read() -> NotebookNode:
    tour: NotebookNode = nbformat.reads(TOUR.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    return tour


def test_the_tour_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(folder, str(tmp_path / folder))
    tour = read()
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(tour, timeout=round(limit(50)), kernel_name="python3", resources=resources)
    with client.setup_kernel():
        for number, cell in enumerate(tour.cells):
            for _ in range(2 if "twice" in cell.metadata.get("tags", ()) else 1):
                client.execute_cell(cell, number)
    shown = "\n".join(output.get("text", "") for cell in tour.cells for output in cell.get("outputs", ()))
    assert "stopped watching after" in shown
    *_, accuracy = (line for line in shown.splitlines() if line.startswith("accuracy "))
    assert float(accuracy.removeprefix("accuracy ")) > 0.8
    assert (tmp_path / "runs" / "tour" / "v000002" / "manifest.json").exists()


def test_the_tour_is_kept_without_outputs() -> None:
    tour = read()
    cells = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert [cell.id for cell in cells if cell.outputs or cell.execution_count is not None] == []
