"""`akkordeon watch`, `status`, `detach`, `set`, `save` and `close`: ask something of a running network."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from akkordeon.cli.options import ReachOptions, argument
from akkordeon.cli.output import Output
from akkordeon.cli.remote import Remote, check_reach, joined
from akkordeon.cli.values import new_folder

if TYPE_CHECKING:
    from akkordeon.messages.reports import Status


class AskCommand(ReachOptions):
    """A command that joins a network, asks, and leaves."""

    def run(self, output: Output) -> int | None:
        """Join the network and ask."""
        check_reach(self)
        with joined(self, output) as remote:
            return self.ask(remote, output)

    @abstractmethod
    def ask(self, remote: Remote, output: Output) -> int | None:
        """Ask, and show the answer; return the exit code, or None for 0."""


class WatchCommand(AskCommand):
    """Follow the reports of a network.

    \b
    Examples:
      akkordeon watch --network 192.0.2.7:25520
      akkordeon watch --network 192.0.2.7:25520 --json

    Shows the reports of all sentinels until the network is closed.
    """  # noqa: D301

    def ask(self, remote: Remote, output: Output) -> None:
        """Show reports."""
        output.reports(remote.watch())
        output.say(f"the network at {self.title} is closed")


class StatusCommand(AskCommand):
    """Show gates and sentinels of a network.

    \b
    Examples:
      akkordeon status --network 192.0.2.7:25520
      akkordeon status --network 192.0.2.7:25520/second --json

    For each gate: its version, mean staleness (in brackets p50, p95 and maximum), open
    batches, and what was skipped, by reason.
    """  # noqa: D301

    def ask(self, remote: Remote, output: Output) -> int:
        """Show the status."""
        found = remote.network.status()
        values = {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}
        parts = {key: [dataclasses.asdict(each) for each in values[key]] for key in ("gates", "sentinels")}
        output.event("status", **(values | parts), advice=found.advice)
        _show(found, output)
        return 0 if found.cause is None else 1


def _show(found: "Status", output: Output) -> None:
    from akkordeon.cli.live import progress  # noqa: PLC0415 - imports torch

    restarts = f", {found.restarts} gate restart{'s' * (found.restarts > 1)}" if found.restarts else ""
    output.say(f"the network is {found.state}{restarts}" if found.cause is None else f"it has failed: {found.cause}")
    for gate in found.gates:
        late = f"staleness {gate.staleness}  gradient {gate.gradient_norm:.3g}"
        if gate.correction_norm:
            late += f", corrected by {gate.correction_norm:.3g}"
        if gate.seconds:
            late += f"  {gate.seconds * 1e6:.0f} us per message"
        output.say(f"gate {gate.name:<11} version {gate.version:6d}  {late}  {gate.open} open{_skipped(gate.skipped)}")
        if gate.alone:
            output.say(f"  one batch at a time: {gate.alone}")
    for sentinel in found.sentinels:
        leaving = "  leaving" if sentinel.draining else ""
        out = f"{sentinel.in_flight} of {sentinel.window} in flight{leaving}"
        output.say(f"{progress(sentinel)}  {out}{_skipped(sentinel.skipped)}")
        if sentinel.reason:
            output.say(f"  window: {sentinel.reason}")
        for dropped in sentinel.dropped:
            output.say(f"  dropped {dropped}")
    if found.advice:
        output.say(found.advice)


def _skipped(counts: Mapping[str, int]) -> str:
    return "  skipped " + ", ".join(f"{count} {reason}" for reason, count in counts.items()) if counts else ""


class DetachCommand(AskCommand):
    """Detach a sentinel from a network.

    \b
    Examples:
      akkordeon detach train-2 --network 192.0.2.7:25520
      akkordeon detach validate --network 192.0.2.7:25520

    Its batches in flight return first; other sentinels are not disturbed.
    """  # noqa: D301

    name: Annotated[str, argument("NAME", "Name of a sentinel; see akkordeon status.")]

    def ask(self, remote: Remote, output: Output) -> None:
        """Detach the sentinel, and wait until it has left."""
        remote.network.detach(self.name)
        output.tell(f"{self.name} has left", "detached", sentinel=self.name)


def _change(text: str) -> tuple[str, int | float | str]:
    key, _, value = text.partition("=")
    if (key.strip(), value) == ("in_flight", "auto"):
        return key.strip(), value
    for kind in (int, float) if key.strip().isidentifier() else ():
        try:
            return key.strip(), kind(value)
        except ValueError:
            continue
    raise typer.BadParameter(f"invalid setting {text!r}: expected KEY=NUMBER, such as in_flight=1 or lr=0.01")


class SetCommand(AskCommand):
    """Change settings while a network runs.

    \b
    Examples:
      akkordeon set train in_flight=1 --network 192.0.2.7:25520
      akkordeon set stem lr=0.01 momentum=0.5 --network 192.0.2.7:25520

    A gate has the settings of its optimizer; a schedule continues from a new lr. Either all
    settings change, or none.
    """  # noqa: D301

    name: Annotated[str, argument("NAME", "Name of a sentinel or gate; see akkordeon status.")]
    settings: Annotated[
        list[Any], argument("KEY=VALUE", "in_flight of a sentinel; lr, momentum, … of a gate.", parser=_change)
    ]

    def ask(self, remote: Remote, output: Output) -> None:
        """Change the settings."""
        settings = dict(self.settings)
        remote.network.set(self.name, **settings)
        line = f"{self.name}: {', '.join(f'{key} is now {value}' for key, value in settings.items())}"
        output.tell(line, "set", name=self.name, settings=settings)


class SaveCommand(AskCommand):
    """Save a running network on this machine.

    \b
    Examples:
      akkordeon save runs/mnist --network 192.0.2.7:25520
      akkordeon network mnist --resume runs/mnist           resumes from it
      akkordeon save /tmp/mine --network 192.0.2.7:25520

    Training pauses meanwhile.
    """  # noqa: D301

    folder: Annotated[Path, argument("DIR", "Folder on this machine; each save is a version.", parser=new_folder)]

    def ask(self, remote: Remote, output: Output) -> None:
        """Save the network."""
        output.saved(remote.network.save(self.folder))


class CloseCommand(AskCommand):
    """Close a running network.

    \b
    Examples:
      akkordeon close --network 192.0.2.7:25520
      akkordeon close --network 192.0.2.7:25520/second

    Its sentinels leave, and it saves where its own --save says.
    """  # noqa: D301

    def ask(self, remote: Remote, output: Output) -> None:
        """Close the network, and wait for its end."""
        remote.close()
        output.tell(f"the network at {self.title} is closed", "closed")
