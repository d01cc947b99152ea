"""The commands for several terminals and machines: what each does, and how to call it."""

from collections.abc import Callable
from typing import Any

import typer

from akkordeon.cli.output import told
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.help import Command, Commands
from akkordeon.cli.options import Options, takes
from akkordeon.cli.reach import check_reach, reserved
from akkordeon.cli.reaching import ReachOptions
from akkordeon.cli.recipe import find
from akkordeon.cli.terminal_options import (
    DetachOptions,
    HostOptions,
    NetworkOptions,
    SaveOptions,
    SentinelOptions,
    SetOptions,
    TestSentinelOptions,
    TlsOptions,
    TokenOptions,
    TrainOptions,
    ValidateOptions,
)

__all__ = ["add_terminals"]

Ask = Callable[[Any, Any, Interrupts], int]


def add_terminals(app: typer.Typer) -> None:
    """Give an application the commands for several terminals and machines."""
    app.command(cls=Command)(network)
    app.add_typer(_group("sentinel", ABOUT_SENTINELS, train=train, validate=validate, test=test))
    for command in (host, watch, status, detach, save, close):
        app.command(cls=Command)(command)
    app.command("set", cls=Command)(change)
    app.add_typer(_group("token", ABOUT_TOKENS, new=new))
    app.add_typer(_group("tls", ABOUT_TLS, init=init))


def _group(name: str, text: str, **commands: Callable[..., None]) -> typer.Typer:
    group = typer.Typer(name=name, cls=Commands, no_args_is_help=True, help=text, rich_markup_mode=None)

    @group.callback()
    def describe() -> None:
        """Make it a group, even of one command."""

    describe.__doc__ = None
    for key, command in commands.items():
        group.command(key, cls=Command)(command)
    return group


ABOUT_SENTINELS = """Train, validate or test here, with the data here, a network of another terminal or machine.

\b
Examples:
  akkordeon sentinel train mnist --network 192.0.2.7:25520 --take 60000
  akkordeon sentinel validate mnist --network 192.0.2.7:25520 --every 20
  akkordeon sentinel test mnist --network 192.0.2.7:25520

The network was opened by akkordeon network, with the same recipe and settings."""

ABOUT_TOKENS = """Make the token that the machines of a network have in common.

\b
Examples:
  akkordeon token new
  akkordeon token new --force                 replace it: the old one opens nothing

One machine alone needs none."""

ABOUT_TLS = """Make certificates, so that nobody else can read what machines send to each other.

\b
Examples:
  akkordeon tls init certificates --host 192.0.2.7 --host 192.0.2.8
  akkordeon tls init certificates --host gpu3.example.org"""


@takes(NetworkOptions)
def network(options: NetworkOptions) -> None:
    """Open a network here, that sentinels join from other terminals and machines.

    \b
    Examples:
      akkordeon network mnist
      akkordeon network mnist --address 192.0.2.7:25520 --save runs/mnist
      akkordeon network mnist --place stem=A --place head=B    see akkordeon host

    Shows the reports of all sentinels. Ctrl-C here, or akkordeon close, lets them leave and
    saves. Beyond this machine it needs a token: see akkordeon token.
    """  # noqa: D301
    with told(options) as output, Interrupts() as interrupts:
        find(options.recipe)
        with reserved(options):
            from akkordeon.cli.commands.network import open_network  # noqa: PLC0415 - imports torch

            raise typer.Exit(open_network(options, output, interrupts))


@takes(TrainOptions)
def train(options: TrainOptions) -> None:
    """Train a network of another terminal or machine, with the data here.

    \b
    Examples:
      akkordeon sentinel train mnist --network 192.0.2.7:25520 --take 60000
      akkordeon sentinel train mnist --network 192.0.2.7:25520 --share 2/3 --epochs 10
      akkordeon sentinel train mine.py -o width=128 --in-flight 5 --seconds 60

    Goes on until Ctrl-C where neither --epochs nor --seconds is given. Ctrl-C lets the
    batches in flight through; the network and its other sentinels go on.
    """  # noqa: D301
    _take_part(options)


@takes(ValidateOptions)
def validate(options: ValidateOptions) -> None:
    """Measure a network of another terminal or machine on data here, beside its training.

    \b
    Examples:
      akkordeon sentinel validate mnist --network 192.0.2.7:25520 --every 20
      akkordeon sentinel validate mnist --network 192.0.2.7:25520

    Makes one pass over the validation data; with --every, one every so many seconds until
    Ctrl-C.
    """  # noqa: D301
    _take_part(options)


@takes(TestSentinelOptions)
def test(options: TestSentinelOptions) -> None:
    """Test a network of another terminal or machine: one pass over the test data here.

    \b
    Examples:
      akkordeon sentinel test mnist --network 192.0.2.7:25520
      akkordeon sentinel test mine.py --network 192.0.2.7:25520 --take 1000 --json
    """  # noqa: D301
    _take_part(options)


def _take_part(options: SentinelOptions) -> None:
    with told(options) as output, Interrupts() as interrupts:
        find(options.recipe)
        check_reach(options)
        from akkordeon.cli.commands.sentinel import take_part  # noqa: PLC0415 - imports torch

        raise typer.Exit(take_part(options, output, interrupts))


@takes(HostOptions)
def host(options: HostOptions) -> None:
    """Lend this machine to a network, to hold gates of it.

    \b
    Examples:
      akkordeon host --network 192.0.2.7:25520 --name A
      akkordeon host --network 192.0.2.7:25520 --name B --wait 600

    The network puts gates here that --place or --hosts gave to this name, also when it has to
    make them anew. Ctrl-C takes the machine back: its gates go on elsewhere.
    """  # noqa: D301
    with told(options) as output, Interrupts() as interrupts:
        check_reach(options, options.wait)
        from akkordeon.cli.commands.host import lend  # noqa: PLC0415 - imports torch

        raise typer.Exit(lend(options, output, interrupts))


@takes(ReachOptions)
def watch(options: ReachOptions) -> None:
    """Show the reports of all sentinels of a network, until it is closed.

    \b
    Examples:
      akkordeon watch --network 192.0.2.7:25520
      akkordeon watch --network 192.0.2.7:25520 --json
    """  # noqa: D301
    _ask(options, "watch")


@takes(ReachOptions)
def status(options: ReachOptions) -> None:
    """Say how the gates and sentinels of a network stand.

    \b
    Examples:
      akkordeon status --network 192.0.2.7:25520
      akkordeon status --network 192.0.2.7:25520/second --json

    Of each gate: its version, how late its gradients were on average (in brackets p50, p95
    and the most), batches open, and what was skipped, by reason.
    """  # noqa: D301
    _ask(options, "status")


@takes(DetachOptions)
def detach(options: DetachOptions) -> None:
    """Let a sentinel leave a network, from any terminal.

    \b
    Examples:
      akkordeon detach train-2 --network 192.0.2.7:25520
      akkordeon detach validate --network 192.0.2.7:25520

    Its batches in flight come through first; others are not disturbed.
    """  # noqa: D301
    _ask(options, "detach")


@takes(SetOptions)
def change(options: SetOptions) -> None:
    """Change settings of a sentinel or a gate while the network runs, from any terminal.

    \b
    Examples:
      akkordeon set train in_flight=1 --network 192.0.2.7:25520
      akkordeon set stem lr=0.01 momentum=0.5 --network 192.0.2.7:25520

    A gate has what its optimizer has; a schedule goes on from a new lr. All are set, or none.
    """  # noqa: D301
    _ask(options, "change")


@takes(SaveOptions)
def save(options: SaveOptions) -> None:
    """Save a network, on this machine: all that it takes to go on from here.

    \b
    Examples:
      akkordeon save runs/mnist --network 192.0.2.7:25520
      akkordeon network mnist --resume runs/mnist           goes on there
      akkordeon save /tmp/mine --network 192.0.2.7:25520

    Training pauses for a moment.
    """  # noqa: D301
    _ask(options, "save")


@takes(ReachOptions)
def close(options: ReachOptions) -> None:
    """Close a network: its sentinels leave, and it is saved where it was told to.

    \b
    Examples:
      akkordeon close --network 192.0.2.7:25520
      akkordeon close --network 192.0.2.7:25520/second
    """  # noqa: D301
    _ask(options, "close")


def _ask(options: ReachOptions, command: str) -> None:
    with told(options) as output, Interrupts() as interrupts:
        check_reach(options)
        from akkordeon.cli.commands import ask as asking  # noqa: PLC0415 - imports torch

        do: Ask = getattr(asking, command)
        raise typer.Exit(do(options, output, interrupts))


@takes(TokenOptions)
def new(options: TokenOptions) -> None:
    """Make a token, and write it into a file that only you can read.

    \b
    Examples:
      akkordeon token new
      AKKORDEON_TOKEN_PATH=secrets/token akkordeon token new
    """  # noqa: D301
    _make(options, "make_token")


@takes(TlsOptions)
def init(options: TlsOptions) -> None:
    """Make an authority, and a certificate with its key for each machine.

    \b
    Examples:
      akkordeon tls init certificates --host 192.0.2.7 --host 192.0.2.8
      akkordeon tls init certificates --host gpu3.example.org
      akkordeon network mnist --address 192.0.2.7:25520 --tls certificates
    """  # noqa: D301
    _make(options, "certify")


def _make(options: Options, what: str) -> None:
    with told(options) as output:
        from akkordeon.cli.commands import keys  # noqa: PLC0415 - is rarely used

        getattr(keys, what)(options, output)
