"""Finds recipes by name or path, imports them, and asks them for what they describe. Finding imports nothing."""

import difflib
import importlib
import importlib.util
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from akkordeon import recipes
from akkordeon.cli.binding import Binding, Settings, parameters
from akkordeon.errors import AkkordeonError, RecipeError, WiringError

if TYPE_CHECKING:
    from akkordeon.engines import Ray
    from akkordeon.gate.description import Gate
    from akkordeon.sentinel.loss import Loss
    from akkordeon.sentinel.metrics import Metrics

BUILT_IN = sorted(each.name.replace("_", "-") for each in pkgutil.iter_modules(recipes.__path__))
"""The recipes that come with akkordeon: each module in that package is one."""

NEEDED = ("gates", "batches", "loss")


def find(name: str) -> str | Path:
    """Return the name of a built-in recipe's module, or the path of a Python file.

    Raises:
        RecipeError: there is neither.
    """
    if name in BUILT_IN:
        return f"akkordeon.recipes.{name.replace('-', '_')}"
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        return path
    if path.exists():
        raise RecipeError(f"{name} is not a recipe: a recipe is a Python file whose name ends in .py")
    if path.suffix == ".py" or path.name != name:
        raise RecipeError(f"no such file: {name}; name the Python file that holds the recipe")
    close = difflib.get_close_matches(name, BUILT_IN, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise RecipeError(
        f"no recipe {name!r}{hint}; built in: {', '.join(BUILT_IN)}; or name a Python file such as {name}.py"
    )


def load(name: str, settings: Settings | None = None, **given: object) -> "Recipe":
    """Import a recipe and bind options to it.

    Args:
        name: of a built-in recipe, or the path of a Python file.
        settings: keywords and texts, of `-o`.
        given: values of options by keyword; None where not given.

    Raises:
        RecipeError: the file is no recipe, or has no such settings.
    """
    where = find(name)
    module = _import(where) if isinstance(where, Path) else _import_built_in(where)
    if lacks := [each for each in NEEDED if not callable(getattr(module, each, None))]:
        raise RecipeError(
            f"{name} lacks {', '.join(lacks)}: a recipe has gates(), batches(split, take), loss and metrics"
        )
    return Recipe(name, module, given, settings or ())


class RecipeLoader:
    """Makes a loader at once, so that errors show before training, and hands it out when called.

    Args:
        make: makes the loader.
    """

    def __init__(self, make: Callable[[], Iterable[object]]) -> None:
        self._make = make
        self._ready: Iterable[object] | None = make()
        try:
            self.length: int | None = len(self._ready)  # type: ignore[arg-type]
        except TypeError:
            self.length = None

    def __call__(self) -> Iterable[object]:
        """Return the loader, and a new one at each further call: a generator can be used only once."""
        ready, self._ready = self._ready, None
        return self._make() if ready is None else ready


class Recipe:
    """Describes what to train: gates, batches, loss and metrics, with their settings.

    Attributes:
        name: of a built-in recipe, or the path of the file.
        loss: takes output and target.
        metrics: other figures, by name.
    """

    def __init__(self, name: str, module: ModuleType, given: Mapping[str, object], settings: Settings) -> None:
        self.name = name
        self.loss: Loss = module.loss
        self.metrics: Metrics = getattr(module, "metrics", None) or {}
        self._module = module
        functions = {each: parameters(getattr(module, each)) for each in ("gates", "batches")}
        if not {"split", "take"} <= functions["batches"].keys():
            raise RecipeError(
                f"{name}: batches({', '.join(functions['batches'])}) must have the parameters split and take: "
                "def batches(split, take=slice(None))"
            )
        self._binding = Binding(name, functions, given, settings)

    @property
    def source(self) -> str:
        """Its text."""
        return Path(str(self._module.__file__)).read_text(encoding="utf-8")

    def default(self, name: str, otherwise: Any) -> Any:
        """Return a constant of the recipe, such as EPOCHS."""
        return getattr(self._module, name, otherwise)

    def gates(self, **offered: object) -> "list[Gate]":
        """Make the gates; `gates()` gets those of the offered arguments that it has a parameter for."""
        from akkordeon.gate.description import Gate  # noqa: PLC0415 - imports torch

        with self._naming("gates()"):
            gates = self._module.gates(**self._binding.arguments("gates", offered))
        if not isinstance(gates, list | tuple) or not all(isinstance(gate, Gate) for gate in gates):
            raise RecipeError(f"{self.name}: gates() must return a list of Gate, and returned {gates!r:.60}")
        return list(gates)

    def loader(self, split: str, take: slice, **offered: object) -> RecipeLoader:
        """Make the loader of a split, as the data of one sentinel."""
        values = self._binding.arguments("batches", offered)
        with self._naming(f"batches({split!r})"):
            return RecipeLoader(lambda: self._module.batches(split=split, take=take, **values))

    def data(self, split: str, take: slice, **offered: object) -> "Batches":
        """Return a callable that makes the loader of a split in another process."""
        values = self._binding.arguments("batches", offered)
        return Batches(partial(self._module.batches, split=split, take=take, **values), str(Path.cwd()))

    def first(self, data: "Batches", split: str) -> object:
        """Return the first batch of a split, so that errors in the data show before a sentinel joins a network."""
        with self._naming(f"batches({split!r})"):
            for first in data():
                return first
        raise RecipeError(f"{self.name}: batches({split!r}) yields nothing; see --take and --share")

    def ship(self, engine: "Ray") -> None:
        """Let other machines have the recipe, where it is a file, and the modules beside it."""
        if self.name in BUILT_IN:
            return
        folder = Path(str(self._module.__file__)).parent
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if file is not None and _is_beside(Path(file), folder):
                engine.ship(module)

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except AkkordeonError:
            raise
        except Exception as error:
            raise RecipeError(f"{self.name}: {what} raised {_text(error)}") from error


@dataclass(frozen=True)
class Batches:
    """Makes a loader in another process of this machine, in the same current folder."""

    make: Callable[[], Iterable[object]]
    folder: str

    def __call__(self) -> Iterable[object]:
        """Return the loader."""
        os.chdir(self.folder)
        return self.make()


def _is_beside(file: Path, folder: Path) -> bool:
    file = file.resolve()
    installed = {"site-packages", "dist-packages", "akkordeon"}
    return file.is_relative_to(folder) and installed.isdisjoint(file.relative_to(folder).parts)


def _import_built_in(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecipeError(f"cannot import {name}: {error}; akkordeon doctor shows how to install it") from error


def _import(path: Path) -> ModuleType:
    """Import a file as a script runs: it can import what lies beside it."""
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = path.stem.replace(".", "_")  # to Python, exp.v2 is a module v2 in a package exp
    if _is_taken(name, path):
        name = f"recipe_{name}"  # a recipe may be called torch.py
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        remedy = "; install it into this environment" if isinstance(error, ModuleNotFoundError) else ""
        raise RecipeError(f"cannot import {path.name}: {_text(error)}{remedy}") from error
    return module


def _is_taken(name: str, path: Path) -> bool:
    """Return whether a name belongs to another module than the one in this file."""
    if name in sys.modules:
        origin = getattr(sys.modules[name], "__file__", None)
    elif (spec := importlib.util.find_spec(name)) is not None:
        origin = spec.origin
    else:
        return False
    return origin is None or Path(origin).resolve() != path


def _text(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    line = user_line(error)
    return f"{type(error).__name__}: {text}" + (f" ({line})" if line else "")


def user_line(error: BaseException) -> str:
    """Return the line of the user's own code that an error came from; empty if none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: {(error.text or '').strip()}"
    ours = str(Path(__file__).parents[1])
    installed = ("site-packages", "dist-packages", str(Path(traceback.__file__).parent), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(ours) and not any(part in frame.filename for part in installed):
            return f"{Path(frame.filename).name}, line {frame.lineno}: {frame.line}"
    return ""


@contextmanager
def explaining_missing_modules(who: str) -> Iterator[None]:
    """Name the module that another machine lacks.

    Args:
        who: what needs it, such as "the sentinel of mine.py".

    Raises:
        WiringError: a module is missing there.
    """
    try:
        yield
    except (ImportError, AkkordeonError) as error:
        if (name := _missing_module(error)) is None:
            raise
        raise WiringError(
            f"{who} needs the module {name!r}, which another machine of the network cannot import: install it there, "
            "in the same version"
        ) from error


def _missing_module(error: BaseException | None) -> str | None:
    while error is not None:  # Ray passes on the text of an error, not its class
        if found := re.search(r"No module named '([^']*)'", str(error)):
            return found[1]
        error = error.__cause__
    return None
