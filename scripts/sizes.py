"""Counts the lines of code of a package, and fails if a budget is exceeded.

A line of code is a line that holds at least one token other than a comment or a docstring: blank lines, comments and
docstrings are free. Budgets stand in `[tool.sizes]` of pyproject.toml.

    python scripts/sizes.py             # print the table; exit with 1 and the names of what is too large
    python scripts/sizes.py --root DIR  # for another folder with a pyproject.toml
"""

import argparse
import ast
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FREE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class File:
    """Sizes of one file.

    Args:
        path: relative to the package.
        lines: all of them.
        code: lines of code.
        functions: physical lines of each body without its docstring, by qualified name.
    """

    path: Path
    lines: int
    code: int
    functions: dict[str, int]

    @property
    def package(self) -> str:
        """Name of the top-level package, or of the file if it stands at the top."""
        return self.path.parts[0].removesuffix(".py")


def measure(file: Path, package: Path) -> File:
    """Measure one file."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    free = {line for each in _docstrings(tree) for line in range(each.lineno, (each.end_lineno or each.lineno) + 1)}
    code: set[int] = set()
    with tokenize.open(file) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type not in FREE:
                code.update(range(token.start[0], token.end[0] + 1))
    return File(file.relative_to(package), len(text.splitlines()), len(code - free), dict(_functions(tree, file.name)))


def _docstrings(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield strings that stand alone: docstrings, and those below an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node


def _functions(node: ast.AST, name: str) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}:{child.name}" if name.endswith(".py") else f"{name}.{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield inner, _body(child)
            yield from _functions(child, inner)
        else:
            yield from _functions(child, name)


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the physical lines from the first statement after the docstring to the end."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def table(files: list[File], budgets: dict[str, int]) -> list[str]:
    """Return a row per package, the largest first, and the total."""
    code = Counter[str]()
    for each in files:
        code[each.package] += each.code
    rows = [f"{'package':<16}{'files':>6}{'lines':>8}{'code':>8}{'budget':>8}"]
    for name, lines in code.most_common():
        own = [each for each in files if each.package == name]
        rows.append(_row(name, own, lines, budgets.get(name)))
    return [*rows, _row("total", files, code.total(), budgets.get("total"))]


def _row(name: str, files: list[File], code: int, budget: int | None) -> str:
    allowed = "" if budget is None else f"{budget:,}"
    return f"{name:<16}{len(files):>6}{sum(each.lines for each in files):>8,}{code:>8,}{allowed:>8}"


def longest(files: list[File]) -> list[str]:
    """Return the longest file and the longest function."""
    file = max(files, key=lambda each: each.lines)
    lines, name = max(_all_functions(files), default=(0, "none"))
    return [f"longest file: {file.path}, {file.lines} lines", f"longest function: {name}, {lines} lines"]


def _all_functions(files: list[File]) -> Iterator[tuple[int, str]]:
    for each in files:
        for name, lines in each.functions.items():
            yield lines, str(each.path.parent / name)


def excesses(files: list[File], settings: dict[str, Any]) -> Iterator[str]:
    """Yield a line for everything over its budget."""
    code = Counter[str]()
    for each in files:
        code[each.package] += each.code
        code["total"] += each.code
    budgets = settings.get("budgets", {})
    for name, budget in budgets.items():
        if code[name] > budget:
            yield f"{name}: {code[name]:,} lines of code, budget {budget:,}"
    for name in sorted(code.keys() - budgets.keys() if budgets.keys() - {"total"} else ()):
        yield f"{name}: {code[name]:,} lines of code, no budget in [tool.sizes.budgets]"
    for each in files:
        if each.lines > settings["file"]:
            yield f"{each.path}: {each.lines} lines, at most {settings['file']}"
        for name, lines in each.functions.items():
            if lines > settings["function"]:
                yield f"{each.path.parent / name}: {lines} lines, at most {settings['function']}"


def main() -> int:
    """Print the table; return 1 if anything is too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent, help="folder of pyproject.toml")
    root = parser.parse_args().root
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["sizes"]
    package = root / settings["package"]
    files = [measure(file, package) for file in sorted(package.rglob("*.py"))]
    print("\n".join([*table(files, settings.get("budgets", {})), "", *longest(files)]))
    too_large = list(excesses(files, settings))
    if too_large:
        print("\ntoo large:\n" + "\n".join(f"  {each}" for each in too_large), file=sys.stderr)
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())
