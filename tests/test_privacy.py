"""Tests use public names: none reads a private attribute of an object, but for the modules listed here."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent

ALLOWED_MODULES = {
    "properties/simulation/mutations.py",  # each mutation switches off one rule of the protocol, by its name
    "strangers/mutations.py",  # likewise, one guard of gates and losses
    "properties/simulation/private.py",  # what the oracle of the simulation sees of actors
}

PUBLIC_DESPITE_THEIR_NAMES = {
    "_asdict",  # of named tuples
    "_exit",  # of os
    "_fields",  # of named tuples
    "_getframe",  # of sys
    "_make",  # of named tuples
    "_replace",  # of named tuples
}

PRIVATE_TO_TORCH = {
    "_dynamo",  # to forget what was compiled, and to know whether anything can be
    "_indices",  # of a sparse tensor that may have an index twice
    "_inductor",
    "_values",
    "_version",  # of a tensor: how often it was written in place
}


def private_reads(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each private attribute of another object than `self` or `cls`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name, owner = node.attr, node.value
            if isinstance(owner, ast.Name) and owner.id in ("self", "cls"):
                continue
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr"):
            name = str(getattr(node.args[1], "value", ""))
        else:
            continue
        if name.startswith("_") and not name.endswith("__"):
            yield node.lineno, name


def test_no_test_reads_what_is_private() -> None:
    allowed = PUBLIC_DESPITE_THEIR_NAMES | PRIVATE_TO_TORCH
    found = [
        f"{file.relative_to(TESTS)}:{line} {name}"
        for file in sorted(TESTS.rglob("*.py"))
        if str(file.relative_to(TESTS)) not in ALLOWED_MODULES
        for line, name in private_reads(ast.parse(file.read_text()))
        if name not in allowed
    ]
    assert found == []
