"""`akkordeon bench`: measures what asynchrony costs, and what can be won back."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from akkordeon.cli.console import Output, told
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.manners import Command, Commands
from akkordeon.cli.options import HOW, KEPT, WHAT, Options, on, takes
from akkordeon.errors import RecipeError

ABOUT = """Measure what asynchrony costs, and what can be won back.

\b
Examples:
  akkordeon bench staleness --quick           a few minutes
  akkordeon bench staleness --only r1,r6      two of the experiments, at full length
"""


@dataclass(frozen=True, kw_only=True)
class StalenessOptions(Options):
    """Of the bench of staleness."""

    quick: Annotated[bool, on(HOW, "--quick", help="Run little of each experiment: ten minutes, not hours.")] = False
    only: Annotated[str, on(WHAT, metavar="KEY,…", help="These experiments (all): r1, r2, … as in the results.")] = ""
    data: Annotated[Path | None, on(WHAT, metavar="DIR", help="Folder of tiny-shakespeare, if you have it.")] = None
    workers: Annotated[int | None, on(HOW, metavar="N", min=1, help="Processes at once (one per core).")] = None
    out: Annotated[Path, on(KEPT, metavar="DIR", help="Where results.md, .json and .svg go.")] = Path("staleness")


def add_benches(app: typer.Typer) -> None:
    """Give an application the benches."""
    group = typer.Typer(name="bench", cls=Commands, no_args_is_help=True, help=ABOUT, rich_markup_mode=None)

    @group.callback()
    def describe() -> None:
        """Make it a group, even of one command."""

    describe.__doc__ = None
    group.command("staleness", cls=Command)(staleness)
    app.add_typer(group)


@takes(StalenessOptions)
def staleness(options: StalenessOptions) -> None:
    """Train with gradients that are late by design, and compare what can be done about it.

    \b
    Examples:
      akkordeon bench staleness --quick --out /tmp/staleness
      akkordeon bench staleness --only r7 --data shakespeare

    Each experiment trains small networks on the simulation engine, where delays are chosen,
    with each compensation at its best learning rate. Results of experiments that are not
    run again are kept. Ctrl-C keeps those that are complete.
    """  # noqa: D301
    with told(options) as output, Interrupts() as interrupts:
        raise typer.Exit(_staleness(options, output, interrupts))


def _staleness(options: StalenessOptions, output: Output, interrupts: Interrupts) -> int:
    from akkordeon.bench.main import KEYS, bench  # noqa: PLC0415 - imports torch

    wanted = [each.strip() for each in options.only.split(",") if each.strip()]
    if unknown := [each for each in wanted if each not in KEYS]:
        raise RecipeError(f"--only {unknown[0]}: there is no such experiment; there are: {', '.join(KEYS)}")
    logging.getLogger("akkordeon").setLevel(logging.ERROR)  # that a run diverges is a result, not a warning
    settings = {"quick": options.quick, "workers": options.workers, "text": options.data}
    table = bench(options.out, only=wanted, say=output.say, **settings)  # type: ignore[arg-type]
    output.event("written", path=table)
    output.say(f"results written to {table}")
    return interrupts.code or 0
