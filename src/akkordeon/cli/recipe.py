"""Recipes: found by name or path, loaded, and asked for what they describe. Finding imports nothing."""

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from akkordeon.cli.binding import Binding, parameters
from akkordeon.cli.options import Goal, RecipeOptions
from akkordeon.errors import AkkordeonError, RecipeError

if TYPE_CHECKING:
    from akkordeon.gate.description import Gate
    from akkordeon.sentinel.loss import Loss
    from akkordeon.sentinel.metrics import Metrics

BUILT_IN = [
    name
    for name in ("mnist", "fashion-mnist", "digits", "char-gpt")
    if (Path(__file__).parents[1] / "recipes" / f"{name.replace('-', '_')}.py").exists()
]

NEEDED = ("gates", "batches", "loss")


def find(name: str) -> str | Path:
    """Return the name of a built-in recipe's module, or the path of a Python file.

    Raises:
        RecipeError: there is neither; says what there is.
    """
    if name in BUILT_IN:
        return f"akkordeon.recipes.{name.replace('-', '_')}"
    path = Path(name)
    if path.suffix == ".py" and path.is_file():
        return path
    if path.exists():
        raise RecipeError(f"{name} is no recipe: a recipe is a Python file, and its name ends in .py")
    if path.suffix == ".py" or path.name != name:
        raise RecipeError(f"there is no file {name}; name the Python file that holds the recipe")
    close = difflib.get_close_matches(name, BUILT_IN, 1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise RecipeError(
        f"there is no recipe {name!r}{hint}; there are: {', '.join(BUILT_IN)}, or name a Python file such as {name}.py"
    )


def load(options: RecipeOptions, given: Mapping[str, object]) -> "Recipe":
    """Import a recipe and bind the options to it.

    Args:
        options: name the recipe, and its settings.
        given: values of options by keyword; None where not given.

    Raises:
        RecipeError: it cannot be used, or does not have these settings; says what it lacks.
    """
    where = find(options.recipe)
    module = _import(where) if isinstance(where, Path) else _import_built_in(where)
    if lacks := [name for name in NEEDED if not callable(getattr(module, name, None))]:
        raise RecipeError(
            f"{options.recipe} lacks {', '.join(lacks)}: a recipe has gates(), batches(split, take), loss and metrics"
        )
    return Recipe(options.recipe, module, given, options.settings or ())


class Loader:
    """The data of a sentinel: made at once, so that errors show before training, and handed out when it is called.

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
        """Return the loader; called again, as it is where a loader can be used only once, make another one."""
        ready, self._ready = self._ready, None
        return self._make() if ready is None else ready


class Recipe:
    """What to train: gates, batches, loss and metrics, with their settings."""

    def __init__(
        self, name: str, module: ModuleType, given: Mapping[str, object], settings: Iterable[tuple[str, str]]
    ) -> None:
        self.name = name
        self._module = module
        functions = {each: parameters(getattr(module, each)) for each in ("gates", "batches")}
        if not {"split", "take"} <= functions["batches"].keys():
            raise RecipeError(
                f"{name}: batches({', '.join(functions['batches'])}) cannot be asked for a part of the data; "
                "let it begin as def batches(split, take=slice(None)"
            )
        self._binding = Binding(name, functions, given, settings)

    @property
    def loss(self) -> "Loss":
        """Takes output and target."""
        loss: Loss = self._module.loss
        return loss

    @property
    def metrics(self) -> "Metrics":
        """Other figures, by name."""
        metrics: Metrics = getattr(self._module, "metrics", None) or {}
        return metrics

    def default(self, name: str, otherwise: Any) -> Any:
        """Return a constant of the recipe, such as EPOCHS."""
        return getattr(self._module, name, otherwise)

    def gates(self, **offered: object) -> "list[Gate]":
        """Describe the gates; of what is offered they get what they have a parameter for."""
        from akkordeon.gate.description import Gate  # noqa: PLC0415 - imports torch

        with self._naming("gates()"):
            gates = self._module.gates(**self._binding.arguments("gates", offered))
        if not isinstance(gates, list | tuple) or not all(isinstance(gate, Gate) for gate in gates):
            raise RecipeError(f"{self.name}: gates() must return a list of Gate, and returned {gates!r:.60}")
        return list(gates)

    def loader(self, split: str, take: slice, **offered: object) -> Loader:
        """Make the loader of a split, as the data of one sentinel."""
        values = self._binding.arguments("batches", offered)
        with self._naming(f"batches({split!r})"):
            return Loader(lambda: self._module.batches(split=split, take=take, **values))

    def data(self, split: str, take: slice, **offered: object) -> "Batches":
        """Return what makes the loader of a split, in another process."""
        values = self._binding.arguments("batches", offered)
        return Batches(partial(self._module.batches, split=split, take=take, **values), str(Path.cwd()))

    def first(self, data: "Batches", split: str) -> object:
        """Return the first batch of a split: so that errors of data show before a sentinel joins a network."""
        with self._naming(f"batches({split!r})"):
            first = next(iter(data()), self)
        if first is self:
            raise RecipeError(f"{self.name}: batches({split!r}) yields nothing; see --take and --share")
        return first

    def own_modules(self) -> list[ModuleType]:
        """Return the modules that other machines do not have: the recipe, where it is a file, and what lies beside."""
        if self.name in BUILT_IN:
            return []
        folder = Path(str(self._module.__file__)).parent
        files = ((each, getattr(each, "__file__", None)) for each in list(sys.modules.values()))
        return [each for each, file in files if file is not None and _is_beside(Path(file), folder)]

    def check_goal(self, goal: Goal | None) -> None:
        """Refuse a goal that no validation could reach, since it does not report that figure."""
        if goal is not None and goal.figure not in (figures := ["loss", *self.metrics]):
            raise RecipeError(
                f"--until {goal}: {self.name} does not report {goal.figure!r}; it reports {', '.join(figures)}"
            )

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except AkkordeonError:
            raise
        except Exception as error:
            raise RecipeError(f"{self.name}: {what} raised {_told(error)}") from error


@dataclass(frozen=True)
class Batches:
    """Makes a loader in another process of this machine, which finds files as this one does.

    Args:
        make: makes it.
        folder: current here.
    """

    make: Callable[[], Iterable[object]]
    folder: str

    def __call__(self) -> Iterable[object]:
        """Return the loader."""
        os.chdir(self.folder)
        return self.make()


def _is_beside(file: Path, folder: Path) -> bool:
    try:
        parts = file.resolve().relative_to(folder).parts
    except ValueError:
        return False
    return not {"site-packages", "dist-packages", "akkordeon"} & set(parts)


def _import_built_in(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecipeError(f"{name} cannot be imported: {error}; akkordeon doctor says how to install it") from error


def _import(path: Path) -> ModuleType:
    """Import a file as a script would be run: what lies beside it can be imported, too."""
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = path.stem
    if importlib.util.find_spec(name) is not None and _origin(name) != path:
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
        raise RecipeError(f"{path.name} cannot be imported: {_told(error)}{remedy}") from error
    return module


def _origin(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).resolve() if spec is not None and spec.origin else None


def _told(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    line = user_line(error)
    return f"{type(error).__name__}: {text}" + (f" ({line})" if line else "")


def user_line(error: BaseException) -> str:
    """Return where in the user's own code an error came from, in one line; empty if nowhere."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}: {(error.text or '').strip()}"
    ours = str(Path(__file__).parents[1])
    installed = ("site-packages", "dist-packages", str(Path(traceback.__file__).parent), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(ours) and not any(part in frame.filename for part in installed):
            return f"{Path(frame.filename).name}, line {frame.lineno}: {frame.line}"
    return ""
