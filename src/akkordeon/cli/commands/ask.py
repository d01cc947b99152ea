"""What can be asked of a network of another terminal: `akkordeon watch`, `status`, `detach`, `set`, `save`, `close`."""

import dataclasses
from collections.abc import Mapping

from akkordeon.cli.output import Output
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.remote import joined
from akkordeon.cli.reaching import ReachOptions
from akkordeon.cli.terminal_options import DetachOptions, SaveOptions, SetOptions
from akkordeon.events import Status
from akkordeon.cli.live import progress

__all__ = ["change", "close", "detach", "save", "status", "watch"]


def watch(options: ReachOptions, output: Output, interrupts: Interrupts) -> int:
    """Show reports until the network is closed; return the exit code."""
    with joined(options, output, interrupts) as network:
        for report in network.watch():
            output.report(report)
    output.say(f"the network at {options.told} is closed")
    return interrupts.code or 0


def status(options: ReachOptions, output: Output, interrupts: Interrupts) -> int:
    """Show how a network stands; return the exit code."""
    with joined(options, output, interrupts) as joint:
        found = joint.network.status()
    values = {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}
    parts = {key: [dataclasses.asdict(each) for each in values[key]] for key in ("gates", "sentinels")}
    output.event("status", **(values | parts), advice=found.advice)
    _say(found, output)
    return 0 if found.cause is None else 1


def _say(found: Status, output: Output) -> None:
    restarts = f"; gates were made anew {found.restarts} times" if found.restarts else ""
    output.say(f"the network is {found.state}{restarts}" if found.cause is None else f"it has failed: {found.cause}")
    for gate in found.gates:
        late = f"staleness {gate.staleness}  gradient {gate.gradient_norm:.3g}"
        if gate.correction_norm:
            late += f", corrected by {gate.correction_norm:.3g}"
        if gate.seconds:
            late += f"  {gate.seconds * 1e6:.0f} us per message"
        output.say(f"gate {gate.name:<11} version {gate.version:6d}  {late}  {gate.open} open{_skipped(gate.skipped)}")
    for sentinel in found.sentinels:
        leaving = "  is leaving" if sentinel.draining else ""
        out = f"{sentinel.in_flight} of {sentinel.window} in flight{leaving}"
        output.say(f"{progress(sentinel)}  {out}{_skipped(sentinel.skipped)}")
        if sentinel.reason:
            output.say(f"  in flight as found out: {sentinel.reason}")
        for dropped in sentinel.dropped:
            output.say(f"  dropped {dropped}")
    if found.advice:
        output.say(found.advice)


def _skipped(counts: Mapping[str, int]) -> str:
    return "  skipped " + ", ".join(f"{count} {reason}" for reason, count in counts.items()) if counts else ""


def detach(options: DetachOptions, output: Output, interrupts: Interrupts) -> int:
    """Let a sentinel leave; return the exit code."""
    with joined(options, output, interrupts) as joint:
        joint.network.detach(options.name)
    output.event("detached", sentinel=options.name)
    output.say(f"{options.name} has left")
    return 0


def change(options: SetOptions, output: Output, interrupts: Interrupts) -> int:
    """Change settings of a sentinel or a gate; return the exit code."""
    settings = dict(options.settings)
    with joined(options, output, interrupts) as joint:
        joint.network.set(options.name, **settings)
    output.event("set", name=options.name, settings=settings)
    output.say(f"{options.name} has {', '.join(f'{key}={value}' for key, value in settings.items())} from now on")
    return 0


def save(options: SaveOptions, output: Output, interrupts: Interrupts) -> int:
    """Save a network on this machine; return the exit code."""
    with joined(options, output, interrupts) as joint:
        path = joint.network.save(options.folder)
    output.event("saved", path=path)
    output.say(f"saved to {path}")
    return 0


def close(options: ReachOptions, output: Output, interrupts: Interrupts) -> int:
    """Ask for a network to be closed, and wait until it is; return the exit code."""
    with joined(options, output, interrupts) as joint:
        joint.leaving()
        joint.network.end()
        joint.await_end()
    output.event("closed")
    output.say(f"the network at {options.told} is closed")
    return 0
