"""The options of each command, checked as far as that goes without torch, which takes seconds to import."""

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

T = TypeVar("T")


@dataclass(frozen=True)
class Goal:
    """Of the validations: a figure that is to be reached."""

    figure: str
    at_most: bool
    value: float

    def __str__(self) -> str:
        return f"{self.figure} {'<=' if self.at_most else '>='} {self.value:g}"


def part_of(take: slice, share: tuple[int, int]) -> slice:
    """Return every `of`-th sample of a take, beginning with the `which`-th; all `of` parts are disjoint."""
    which, of = share
    step = take.step or 1
    return slice((take.start or 0) + (which - 1) * step, take.stop, step * of)


# What is written on the command line, and what it means


def _take(text: str) -> slice:
    if (found := re.fullmatch(r"(\d+)", text)) and int(text) > 0:
        return slice(int(found[1]))
    if (found := re.fullmatch(r"(\d+):(\d+)", text)) and int(found[1]) < int(found[2]):
        return slice(int(found[1]), int(found[2]))
    raise typer.BadParameter(f"{text!r} is neither a number of samples (1000) nor a range of them (5000:6000)")


def _share(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise typer.BadParameter(f"{text!r} is no share; the second of three disjoint ones is 2/3")
    return int(found[1]), int(found[2])


def _goal(text: str) -> Goal:
    found = re.fullmatch(r"(?P<figure>[^<>=]+)(?P<sign><=|>=|=)(?P<value>[^<>=]+)", text)
    try:
        value = float(found["value"]) if found else None
    except ValueError:
        value = None
    if found is None or value is None:
        raise typer.BadParameter(f"{text!r} is no goal; write accuracy=0.97, loss=0.1 or 'perplexity<=20'")
    figure = found["figure"].strip()
    return Goal(figure, found["sign"] == "<=" or (found["sign"] == "=" and figure == "loss"), value)


def in_flight_of(text: str) -> int | str:
    """Return what --in-flight of a training sentinel means."""
    if text == "auto" or (text.isdecimal() and int(text) > 0):
        return text if text == "auto" else int(text)
    raise typer.BadParameter(f"{text!r} is neither a number of batches, at least 1, nor auto")


def _setting(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip().isidentifier():
        raise typer.BadParameter(f"{text!r} is no setting of a recipe; write key=value, such as width=128")
    return key.strip(), value.strip()


# Options that several commands have

GROUPS = WHAT, HOW, END, KEPT, WHERE, SHOWN = (
    "What is used",
    "How",
    "When it ends",
    "What is kept",
    "Which network, and how to reach it",
    "What is shown",
)
"""What options are about, in the order in which help shows them."""


IN_FLIGHT = "Batches out at once; 1 is synchronous training, auto as few as keep all busy."


def on(panel: str, *names: str, **settings: Any) -> Any:
    """Return an option of a group."""
    return typer.Option(*names, rich_help_panel=panel, **settings)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all commands have."""

    json: Annotated[bool, on(SHOWN, "--json", help="Print one JSON object per line.")] = False
    debug: Annotated[bool, on(SHOWN, "--debug", envvar="AKKORDEON_DEBUG", help="Show an error's traceback.")] = False


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Options):
    """What all commands have that use a recipe, whatever they use of it."""

    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A built-in name, or the path of a Python file.")]
    settings: Annotated[
        list[Any] | None,
        on(WHAT, "--option", "-o", parser=_setting, metavar="KEY=VALUE", help="A keyword of the recipe's functions."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class DataOfRecipe(RecipeOptions):
    """What all commands have that use the data of a recipe."""

    batch_size: Annotated[int | None, on(WHAT, metavar="N", min=1, help="Samples per batch.")] = None
    data: Annotated[
        Path | None, on(WHAT, metavar="DIR", help="Folder of the data set, or a text's file, if you have it.")
    ] = None
    take: Annotated[
        slice | None, on(WHAT, parser=_take, metavar="N|A:B", help="Use the first N samples, or A to B.")
    ] = None
    share: Annotated[Any, on(WHAT, parser=_share, metavar="K/N", help="Use the K-th of N disjoint shares.")] = None
    time_limit: Annotated[
        float, on(HOW, metavar="S", min=0.1, help="Seconds for a batch to come back, and a loader to yield one.")
    ] = 30.0

    def __post_init__(self) -> None:
        if self.data is not None and not self.data.exists():
            raise refusal("--data", f"there is no folder {self.data}")

    @property
    def samples(self) -> slice:
        """Which samples to use."""
        take = self.take or slice(None)
        return take if self.share is None else part_of(take, self.share)


@dataclass(frozen=True, kw_only=True)
class SavedOptions(Options):
    """What all commands have that begin a network, perhaps with what was saved."""

    resume: Annotated[Path | None, on(KEPT, metavar="DIR", help="Go on from what --save wrote.")] = None
    weights: Annotated[Path | None, on(KEPT, metavar="FILE", help="Begin with these weights (safetensors).")] = None

    def __post_init__(self) -> None:
        if self.resume is not None and self.weights is not None:
            raise refusal("--weights", "--resume brings weights of its own; leave one of the two out")
        if self.resume is not None and not self.resume.is_dir():
            raise refusal("--resume", f"there is no folder {self.resume}; name one that --save wrote")
        if self.weights is not None and not self.weights.is_file():
            raise refusal("--weights", f"there is no file {self.weights}; name one that --export wrote")


@dataclass(frozen=True, kw_only=True)
class LocalOptions(DataOfRecipe, SavedOptions):
    """What all commands have that use a network in this process."""

    workers: Annotated[int | None, on(HOW, metavar="N", min=1, help="Threads that compute (one per core).")] = None

    def __post_init__(self) -> None:
        DataOfRecipe.__post_init__(self)
        SavedOptions.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class RunOptions(LocalOptions):
    """Those of `akkordeon run`. Where a default is None, it is up to the recipe (or else as help says in brackets)."""

    lr: Annotated[float | None, on(WHAT, metavar="RATE", min=0.0, help="Learning rate.")] = None
    seed: Annotated[int, on(WHAT, metavar="N", help="Of initial weights and shuffling.")] = 0
    in_flight: Annotated[Any, on(HOW, parser=in_flight_of, metavar="N|auto", help=IN_FLIGHT)] = None
    max_staleness: Annotated[
        int | None, on(HOW, metavar="N", min=0, help="Updates that a gradient may come late; 0 is synchronous.")
    ] = None
    sentinels: Annotated[int, on(HOW, metavar="N", min=1, help="Training sentinels at once, each on its share.")] = 1
    compensation: Annotated[
        str | None,
        on(HOW, metavar="NAME,…", help="Of all gates: linear beside momentum, rate beside Adam, none, … (see docs)."),
    ] = None
    epochs: Annotated[int | None, on(END, metavar="N", min=1, help="Passes through the data (10).")] = None
    seconds: Annotated[float | None, on(END, metavar="S", min=0.001, help="End after so long, whatever the epoch.")] = (
        None
    )
    finish_synchronously: Annotated[
        int | None, on(END, metavar="N", min=1, help="Of these, the last N with one batch in flight.")
    ] = None
    until: Annotated[
        Goal | None,
        on(END, parser=_goal, metavar="GOAL", help="End at a validation with accuracy=0.97, loss=0.1, 'x<=20'."),
    ] = None
    validate_every: Annotated[float | None, on(END, metavar="S", min=0.1, help="Seconds between validations (2).")] = (
        None
    )
    save: Annotated[Path | None, on(KEPT, metavar="DIR", help="Save all to go on from, at the end or Ctrl-C.")] = None
    save_every: Annotated[float | None, on(KEPT, metavar="S", min=0.1, help="Save every so many seconds, too.")] = None
    export: Annotated[Path | None, on(KEPT, metavar="FILE", help="Write the weights at the end (safetensors).")] = None
    live: Annotated[bool | None, on(SHOWN, "--live/--plain", help="A live picture, or plain lines as in a log.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.save_every is not None and self.save is None:
            raise refusal("--save-every", "say where to: --save DIR")
        by_the_clock = self.seconds is not None and self.epochs is None
        if self.finish_synchronously is not None and (by_the_clock or self.sentinels > 1):
            raise refusal("--finish-synchronously", "it needs --epochs, and cannot be with several --sentinels")
        if self.save is not None:
            check_folder("--save", self.save)
        if self.export is not None:
            check_file("--export", self.export)


@dataclass(frozen=True, kw_only=True)
class TestOptions(LocalOptions):
    """Those of `akkordeon test`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is None and self.weights is None:
            raise refusal("--resume", "say what to test: --resume DIR or --weights FILE")


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """Those of `akkordeon data`."""

    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of a data set; lists them if not given.")] = None
    folder: Annotated[Path | None, on(WHAT, metavar="DIR", help="Folder of the data set, if you have it.")] = None

    def __post_init__(self) -> None:
        if self.folder is not None and not self.folder.is_dir():
            raise refusal("--folder", f"there is no folder {self.folder}")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """Those of `akkordeon export`."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `akkordeon run --save DIR` wrote.")]
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the weights (safetensors).")]

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise refusal("DIR", f"there is no folder {self.folder}; name one that --save wrote")
        check_file("FILE", self.file)


# Refusals before anything is trained: nothing is worse than a disk that cannot be written to after hours


def check_folder(option: str, folder: Path) -> None:
    """Refuse a folder that could not be made or written to."""
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise refusal(option, f"{existing} is a file; name a folder")
    if not os.access(existing, os.W_OK):
        raise refusal(option, f"{existing} cannot be written to; name another folder")


def check_file(option: str, file: Path) -> None:
    """Refuse a file that could not be written."""
    if file.is_dir():
        raise refusal(option, f"{file} is a folder; name a file in it, such as {file / 'model.safetensors'}")
    if not file.absolute().parent.is_dir():
        raise refusal(option, f"there is no folder {file.absolute().parent} to write {file.name} to; make it first")
    check_folder(option, file.absolute().parent)


def refusal(option: str, why: str) -> typer.BadParameter:
    """Return what to raise where an option cannot work."""
    return typer.BadParameter(why, param_hint=f"'{option}'")


def takes(options: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Let a command have the fields of a dataclass as its options."""

    def decorate(command: Callable[[T], None]) -> Callable[..., None]:
        def call(**values: Any) -> None:
            command(options(**values))

        call.__name__ = command.__name__
        call.__doc__ = command.__doc__
        call.__signature__ = inspect.signature(options)  # type: ignore[attr-defined]
        call.__annotations__ = get_type_hints(options, include_extras=True)
        return call

    return decorate
