"""Values of options: parsed from text, and checked as far as that goes without torch."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import typer

from akkordeon.cluster.address import Address

NETWORK = "network"
"""Name of a network that was given none."""


@dataclass(frozen=True)
class Goal:
    """A figure of the validations, and the value that ends training."""

    figure: str
    at_most: bool
    value: float

    def __str__(self) -> str:
        return f"{self.figure} {'<=' if self.at_most else '>='} {self.value:g}"


def goal_of(text: str) -> Goal:
    """Return the goal of --until. Of a plain `=`, loss is at most, any other figure at least the value."""
    found = re.fullmatch(r"(?P<figure>[^<>=]+)(?P<sign><=|>=|=)(?P<value>[^<>=]+)", text)
    try:
        value = float(found["value"]) if found else None
    except ValueError:
        value = None
    if found is None or value is None:
        raise typer.BadParameter(f"invalid goal {text!r}; write accuracy=0.97, loss=0.1 or 'perplexity<=20'")
    figure = found["figure"].strip()
    return Goal(figure, found["sign"] == "<=" or (found["sign"] == "=" and figure == "loss"), value)


def take_of(text: str) -> slice:
    """Return the slice of --take."""
    if (found := re.fullmatch(r"(\d+)", text)) and int(text) > 0:
        return slice(int(found[1]))
    if (found := re.fullmatch(r"(\d+):(\d+)", text)) and int(found[1]) < int(found[2]):
        return slice(int(found[1]), int(found[2]))
    raise typer.BadParameter(f"{text!r} is neither a number of samples (1000) nor a range (5000:6000)")


def share_of(text: str) -> tuple[int, int]:
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


def in_flight_of(text: str) -> int | str:
    """Return the value of --in-flight of a training sentinel."""
    if text == "auto" or (text.isdecimal() and int(text) > 0):
        return text if text == "auto" else int(text)
    raise typer.BadParameter(f"{text!r} is neither a number of batches (at least 1) nor auto")


def setting_of(text: str) -> tuple[str, str]:
    """Return key and text of a setting of a recipe."""
    key, sign, value = text.partition("=")
    if not sign or not key.strip().isidentifier():
        raise typer.BadParameter(f"invalid setting {text!r}: expected KEY=VALUE, such as width=128")
    return key.strip(), value.strip()


def address_of(text: str) -> Address:
    """Return the address that HOST:PORT stands for."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def name_of(text: str) -> str:
    """Return a valid name of a network or a host."""
    if not re.fullmatch(r"[\w.-]{1,63}", text):
        raise typer.BadParameter(f"invalid name {text!r}: use letters, digits, '.', '_' and '-'")
    return text


@dataclass(frozen=True, slots=True)
class Where:
    """A network's address, None where Ray knows it, and its name there."""

    address: Address | None
    name: str

    def __str__(self) -> str:
        return f"{self.address or ''}" + ("" if self.name == NETWORK else f"/{self.name}")


def where_of(text: str) -> Where:
    """Return the network that HOST:PORT[/NAME] stands for."""
    address, slash, name = text.partition("/")
    return Where(address_of(address), name_of(name) if slash else NETWORK)


def ray_address_of(text: str) -> str:
    """Return the address of a Ray cluster, as ray.init takes it."""
    if "://" in text:
        raise typer.BadParameter(f"cannot use {text!r}: only processes on the cluster's own machines can take part")
    return text


# Files and folders. An output is checked before training: a disk must not turn out unwritable after hours.


def existing_path(text: str) -> Path:
    """Return a file or folder that exists."""
    if not Path(text).exists():
        raise typer.BadParameter(f"no such file or folder: {text}")
    return Path(text)


def existing_folder(text: str) -> Path:
    """Return a folder that exists."""
    if not Path(text).is_dir():
        raise typer.BadParameter(f"no such folder: {text}")
    return Path(text)


def saved_folder(text: str) -> Path:
    """Return a folder that --save wrote."""
    if not Path(text).is_dir():
        raise typer.BadParameter(f"no such folder: {text}; name one that --save wrote")
    return Path(text)


def weights_file(text: str) -> Path:
    """Return a file of weights that exists."""
    if not Path(text).is_file():
        raise typer.BadParameter(f"no such file: {text}; name one that --export wrote")
    return Path(text)


def certificates_folder(text: str) -> Path:
    """Return a folder that tls init wrote."""
    if not (Path(text) / "ca.crt").is_file():
        raise typer.BadParameter(f"no such file: {Path(text) / 'ca.crt'}; see akkordeon tls init --help")
    return Path(text)


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
