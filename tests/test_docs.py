"""What README and documentation show is true: their Python runs, page by page, and their links lead somewhere."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from akkordeon.datasets import Images
from akkordeon.recipes import mnist
from benchmarks.faults.run import tables
from tests.datasets import made_up_mnist
from tests.properties.simulation.mutations import MUTATIONS
from tests.waiting import limit

ROOT = Path(__file__).parents[1]

PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
"""All pages; what a page shows as ```python runs, what it shows as ```py is a piece of something."""

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


def blocks(page: Path) -> Iterator[str]:
    """Yield the blocks of Python of a page, each on the lines where the page has it, for tracebacks."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, found.start(1)) + found[1]


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run(code: str, name: str, namespace: dict[str, object]) -> None:
    exec(compile(code, name, "exec"), namespace)  # noqa: S102 - it is ours


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))], ids=title)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mnist, "fetch", made_up)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        run(block, str(page), namespace)


def test_the_example_of_hugging_face_learns_to_count(capsys: pytest.CaptureFixture[str]) -> None:
    example = ROOT / "examples" / "gpt2.py"
    run(example.read_text(encoding="utf-8"), str(example), {"__name__": "example"})
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", capsys.readouterr().out)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 2


def test_the_recipe_on_its_page_trains_from_the_command_line(tmp_path: Path) -> None:
    (recipe,) = blocks(ROOT / "docs" / "recipes.md")
    (tmp_path / "mine.py").write_text(textwrap.dedent(recipe), encoding="utf-8")
    command = [sys.executable, "-m", "akkordeon", "run", "mine.py", "-o", "width=32", "--epochs", "2"]
    command += ["--save", "runs/mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=limit(50), check=False)
    assert done.returncode == 0, done.stderr
    assert "saved to runs/mine/v000001" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_quoted_error_messages_are_those_of_the_program() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    said = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    said = re.sub(r"""["']\s+f?["']""", "", said)  # strings over several lines
    quoted = [span for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for span in re.findall(r"`(.+?)`", row)]
    parts = [part.strip() for span in quoted for part in re.split(r"'\S*'|…|\(.*?\)|[\d.]+| nan|[:;]", span)]
    assert len(quoted) > 25
    assert [part for part in parts if part.count(" ") and part not in said] == []


def test_the_figures_of_faults_are_those_that_were_measured() -> None:
    assert tables() in (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert len(tables().splitlines()) > 40


def test_the_first_page_fits_a_reader() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "```python" in lines[:20]
    assert len(lines) <= 182


def made_up(split: str, take: slice = slice(None), *, folder: Path | None = None) -> Images:
    """Stand in for MNIST, which would have to be fetched."""
    pixels, labels = made_up_mnist.images(*((300, 1) if split == "train" else (40, 2)))
    return Images(pixels[take], labels[take])


def test_the_page_on_the_architecture_names_each_rule_of_the_protocol_by_its_mutation() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [mutation.rule for mutation in MUTATIONS if f"`{mutation.rule}`" not in page] == []


def test_the_page_on_the_architecture_names_only_files_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)`", page))
    assert len(paths) > 20
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []
