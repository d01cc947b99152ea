"""The options of the commands for several terminals and machines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from akkordeon.cli.options import (
    END,
    HOW,
    IN_FLIGHT,
    KEPT,
    WHAT,
    WHERE,
    DataOfRecipe,
    Options,
    RecipeOptions,
    SavedOptions,
    check_folder,
    in_flight_of,
    on,
    refusal,
)
from akkordeon.cli.reaching import NETWORK, AccessOptions, ReachOptions, address_of, name_of

LOCAL = "127.0.0.1:25520"
"""Where a network is that was given no address: nobody but this machine can reach it."""


def _placed(text: str) -> tuple[str, str]:
    gate, sign, host = text.partition("=")
    if not (sign and gate and host):
        raise typer.BadParameter(f"{text!r} says not where a gate is to live; write GATE=HOST, such as stem=A")
    return gate, name_of(host)


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(name_of(each.strip()) for each in text.split(","))


def _value(text: str) -> tuple[str, int | float | str]:
    key, _, value = text.partition("=")
    if (key.strip(), value) == ("in_flight", "auto"):
        return key.strip(), value
    for kind in (int, float) if key.strip().isidentifier() else ():
        try:
            return key.strip(), kind(value)
        except ValueError:
            continue
    raise typer.BadParameter(f"{text!r} sets nothing; write KEY=NUMBER, such as in_flight=1 or lr=0.01")


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(RecipeOptions, SavedOptions, AccessOptions):
    """Those of `akkordeon network`."""

    lr: Annotated[float | None, on(WHAT, metavar="RATE", min=0.0, help="Learning rate.")] = None
    seed: Annotated[int, on(WHAT, metavar="N", help="Of initial weights.")] = 0
    max_staleness: Annotated[
        int | None, on(HOW, metavar="N", min=0, help="Updates that a gradient may come late; 0 is synchronous.")
    ] = None
    compensation: Annotated[
        str | None,
        on(HOW, metavar="NAME,…", help="Of all gates: linear beside momentum, rate beside Adam, none, … (see docs)."),
    ] = None
    place: Annotated[
        list[Any] | None, on(HOW, parser=_placed, metavar="GATE=HOST", help="Let a gate live on a host, by its name.")
    ] = None
    hosts: Annotated[Any, on(HOW, parser=_hosts, metavar="A,B", help="Spread all other gates over these.")] = None
    wait: Annotated[float, on(HOW, metavar="S", min=0.0, help="Seconds that these hosts have to join.")] = 20.0
    save: Annotated[Path | None, on(KEPT, metavar="DIR", help="Save all to go on from, when it is closed.")] = None
    save_every: Annotated[float | None, on(KEPT, metavar="S", min=0.1, help="Save every so many seconds, too.")] = None
    address: Annotated[
        Any, on(WHERE, parser=address_of, metavar="HOST:PORT", help="Where others find it; a free port of yours.")
    ] = LOCAL
    name: Annotated[str, on(WHERE, parser=name_of, metavar="NAME", help="Of the network.")] = NETWORK

    def __post_init__(self) -> None:
        SavedOptions.__post_init__(self)
        self.check_access()
        if self.save_every is not None and self.save is None:
            raise refusal("--save-every", "say where to: --save DIR")
        if self.save is not None:
            check_folder("--save", self.save)


@dataclass(frozen=True, kw_only=True)
class SentinelOptions(DataOfRecipe, ReachOptions):
    """What all sentinels have."""

    name: Annotated[str | None, on(WHAT, metavar="NAME", help="Of the sentinel (what it does, and a number).")] = None
    in_flight: Annotated[int | None, on(HOW, metavar="N", min=1, help="Batches out at once.")] = None
    seed: Annotated[int | None, on(WHAT, metavar="N", help="Of shuffling (one for each name).")] = None

    def __post_init__(self) -> None:
        DataOfRecipe.__post_init__(self)
        ReachOptions.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(SentinelOptions):
    """Those of `akkordeon sentinel train`."""

    in_flight: Annotated[Any, on(HOW, parser=in_flight_of, metavar="N|auto", help=IN_FLIGHT)] = None
    epochs: Annotated[int | None, on(END, metavar="N", min=1, help="Passes through the data (until Ctrl-C).")] = None
    seconds: Annotated[float | None, on(END, metavar="S", min=0.001, help="End after so long (until Ctrl-C).")] = None


@dataclass(frozen=True, kw_only=True)
class ValidateOptions(SentinelOptions):
    """Those of `akkordeon sentinel validate`."""

    every: Annotated[float | None, on(END, metavar="S", min=0.1, help="Every so many seconds, until Ctrl-C.")] = None


@dataclass(frozen=True, kw_only=True)
class TestSentinelOptions(SentinelOptions):
    """Those of `akkordeon sentinel test`."""


@dataclass(frozen=True, kw_only=True)
class HostOptions(ReachOptions):
    """Those of `akkordeon host`."""

    name: Annotated[str, on(WHERE, parser=name_of, metavar="NAME", help="What --place and --hosts call it.")]
    wait: Annotated[float, on(WHERE, metavar="S", min=0.0, help="Seconds that the network has to come.")] = 30.0


@dataclass(frozen=True, kw_only=True)
class DetachOptions(ReachOptions):
    """Those of `akkordeon detach`."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a sentinel; see akkordeon status.")]


@dataclass(frozen=True, kw_only=True)
class SetOptions(ReachOptions):
    """Those of `akkordeon set`."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a sentinel or a gate; see akkordeon status.")]
    settings: Annotated[
        list[Any],
        typer.Argument(parser=_value, metavar="KEY=VALUE", help="in_flight of a sentinel; lr, momentum … of a gate."),
    ]


@dataclass(frozen=True, kw_only=True)
class SaveOptions(ReachOptions):
    """Those of `akkordeon save`."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="On this machine; gets a new version each time.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder("DIR", self.folder)


@dataclass(frozen=True, kw_only=True)
class TokenOptions(Options):
    """Those of `akkordeon token new`."""

    force: Annotated[bool, on(WHAT, "--force", help="Replace the one that is there, which opens nothing then.")] = False


@dataclass(frozen=True, kw_only=True)
class TlsOptions(Options):
    """Those of `akkordeon tls init`."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Gets the files; may have an authority already.")]
    host: Annotated[list[str], on(WHAT, metavar="IP_OR_NAME", help="A machine, as others reach it; repeat for more.")]

    def __post_init__(self) -> None:
        for host in self.host:
            address_of(f"{host}:25520")
        check_folder("DIR", self.folder)
