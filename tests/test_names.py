"""One name, one meaning: no class and no constant of the library is defined in two modules."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "akkordeon"

SAME_MEANING = {
    "_MODULES",  # of the public names of a package, imported when first used
    "EPOCHS",  # of a recipe, and the default of the command line where a recipe names none
    "MEAN",  # of the pixels of a recipe's data set
    "DEVIATION",  # likewise
}


def defined(tree: ast.Module) -> Iterator[str]:
    """Yield the classes and constants that a module defines at its top."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Assign):
            targets = node.targets
        else:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name) and name.id.isupper() and len(name.id) > 1:
                    yield name.id


def test_no_class_or_constant_is_defined_twice() -> None:
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(SOURCE.rglob("*.py")):
        for name in defined(ast.parse(file.read_text())):
            modules[name].append(str(file.relative_to(SOURCE)))
    twice = {name: where for name, where in modules.items() if len(where) > 1 and name not in SAME_MEANING}
    assert twice == {}
