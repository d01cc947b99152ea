"""Values of options: parsed from text, and checked as far as that goes without torch."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from akkordeon.engines.ray.cluster.address import Address

NETWORK = "network"
"""Name of a network that was given none."""

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Goal:
    """A figure of the validations, and the value that ends training."""

    figure: str
    at_most: bool
    value: float

    def __str__(self) -> str:
        return f"{self.figure} {'<=' if self.at_most else '>='} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Where:
    """A network's address, None where Ray knows it, and its name there."""

    address: Address | None
    name: str

    def __str__(self) -> str:
        return f"{self.address or ''}" + ("" if self.name == NETWORK else f"/{self.name}")


def goal(text: str) -> Goal:
    """Return the goal of --until. With a plain `=`, loss is at most the value, any other figure at least."""
    if (found := re.fullmatch(rf"\s*([^<>=]+?)\s*(<=|>=|=)\s*({NUMBER})\s*", text)) is None:
        raise typer.BadParameter(f"invalid goal {text!r}; write accuracy=0.97, loss=0.1 or 'perplexity<=20'")
    figure, sign, value = found.groups()
    return Goal(figure, sign == "<=" or (sign == "=" and figure == "loss"), float(value))


def take(text: str) -> slice:
    """Return the slice of --take."""
    if (found := re.fullmatch(r"(?:(\d+):)?(\d+)", text)) and int(found[1] or 0) < int(found[2]):
        return slice(None if found[1] is None else int(found[1]), int(found[2]))
    raise typer.BadParameter(f"{text!r} is neither a number of samples (1000) nor a range (5000:6000)")


def share(text: str) -> tuple[int, int]:
    """Return K and N of --share."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise typer.BadParameter(f"invalid share {text!r}; the second of three disjoint shares is 2/3")
    return int(found[1]), int(found[2])


def part_of(take: slice, share: tuple[int, int]) -> slice:
    """Return every `of`-th sample of a take, starting with the `which`-th; all `of` parts are disjoint."""
    which, of = share
    step = take.step or 1
    return slice((take.start or 0) + (which - 1) * step, take.stop, step * of)


def in_flight(text: str) -> int | str:
    """Return the value of --in-flight of a training sentinel."""
    if text == "auto" or (text.isdecimal() and int(text) > 0):
        return text if text == "auto" else int(text)
    raise typer.BadParameter(f"{text!r} is neither a number of batches (at least 1) nor auto")


def setting(text: str) -> tuple[str, str]:
    """Return key and text of a setting of a recipe."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip().isidentifier():
        raise typer.BadParameter(f"invalid setting {text!r}: expected KEY=VALUE, such as width=128")
    return key.strip(), value.strip()


def address(text: str) -> Address:
    """Return the address that HOST:PORT stands for."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def name(text: str) -> str:
    """Return a valid name of a network or a host."""
    if not re.fullmatch(r"[\w.-]{1,63}", text):
        raise typer.BadParameter(f"invalid name {text!r}: use letters, digits, '.', '_' and '-'")
    return text


def where(text: str) -> Where:
    """Return the network that HOST:PORT[/NAME] stands for."""
    at, slash, called = text.partition("/")
    return Where(address(at), name(called) if slash else NETWORK)


def ray_address(text: str) -> str:
    """Return the address of a Ray cluster."""
    if "://" in text:
        raise typer.BadParameter(f"cannot use {text!r}: only processes on the cluster's own machines can take part")
    return text


# Files and folders. An output is checked before training: a disk must not turn out unwritable after hours.


def _existing(exists: Callable[[Path], bool], kind: str, remedy: str = "") -> Callable[[str], Path]:
    """Return a parser of paths that exist."""

    def parse(text: str) -> Path:
        if not exists(Path(text)):
            raise typer.BadParameter(f"no such {kind}: {Path(text)}{remedy}")
        return Path(text)

    return parse


path = _existing(Path.exists, "file or folder")
folder = _existing(Path.is_dir, "folder")
saved_folder = _existing(Path.is_dir, "folder", "; name one that --save wrote")
file = _existing(Path.is_file, "file", "; name one that --export wrote")
authority = _existing(Path.is_file, "file", "; see akkordeon tls init --help")


def certificates(text: str) -> Path:
    """Return a folder that tls init wrote."""
    return authority(f"{text}/ca.crt").parent


def new_folder(text: str) -> Path:
    """Return a folder that can be created or written to."""
    existing = next(each for each in (Path(text), *Path(text).absolute().parents) if each.exists())
    if not existing.is_dir():
        raise typer.BadParameter(f"{existing} is a file; name a folder")
    if not os.access(existing, os.W_OK):
        raise typer.BadParameter(f"{existing} is not writable; name another folder")
    return Path(text)


def new_file(text: str) -> Path:
    """Return a file that can be written."""
    file = Path(text)
    if file.is_dir():
        raise typer.BadParameter(f"{file} is a folder; name a file in it, such as {file / 'model.safetensors'}")
    if not (folder := file.absolute().parent).is_dir():
        raise typer.BadParameter(f"no such folder: {folder}; create it first")
    new_folder(str(folder))
    return file
