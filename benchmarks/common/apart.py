"""Arms measured apart: each in a fresh process, one after the other, in rounds that count where the machine was quiet.

Timings of a shared machine wander, so that only what ran within the same minute can be compared, and a round in which
other processes took the CPU cannot at all.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from akkordeon.posix import busy_seconds

__all__ = ["FOREIGN", "of_the_median", "rounds", "run_apart"]

FOREIGN = 0.05
"""Share of the CPU that others may take before a round is void."""

Figures = dict[str, Any]


def run_apart(script: str | Path, arm: str) -> tuple[Figures, float]:
    """Run `script --arm ARM` in a process of its own.

    Returns:
        The JSON of the last line that it prints, and the share of the CPU that other processes took meanwhile.

    Raises:
        RuntimeError: it failed; says what it printed.
    """
    others, own, began = busy_seconds(), _own(), time.monotonic()
    done = subprocess.run([sys.executable, str(script), "--arm", arm], capture_output=True, text=True, check=False)  # noqa: S603
    capacity = (time.monotonic() - began) * (os.cpu_count() or 1)
    if done.returncode:
        raise RuntimeError(f"{script} --arm {arm!r} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]), (busy_seconds() - others - (_own() - own)) / capacity


def rounds(
    script: str | Path,
    arms: Sequence[str],
    wanted: int,
    say: Callable[[str], None] = print,
    strangers: Sequence[str] = (),
) -> list[dict[str, Figures]]:
    """Run all arms one after the other, until so many rounds count, or three times as many were run.

    Args:
        script: see `run_apart`.
        arms: what it calls them.
        wanted: rounds.
        say: takes lines on how far it has come.
        strangers: arms with processes that are nobody's children, as those of a cluster, and would count as others'.
    """
    counted: list[dict[str, Figures]] = []
    for number in range(3 * wanted):
        results = {arm: run_apart(script, arm) for arm in arms}
        foreign = max(share for arm, (_, share) in results.items() if arm not in strangers)
        say(f"round {number + 1}: others took {foreign:.1%}, so it {'is void' if foreign > FOREIGN else 'counts'}")
        if foreign <= FOREIGN:
            counted.append({arm: figures for arm, (figures, _) in results.items()})
        if len(counted) == wanted:
            break
    return counted


def of_the_median(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, and its interval of 95 % by ranks; up to 7 values that is the least and the greatest."""
    ordered, num = sorted(values), len(values)
    low = max(0, num // 2 - round(0.98 * num**0.5))  # a binomial with p = 1/2
    return statistics.median(ordered), ordered[low], ordered[num - 1 - low]


def _own() -> float:
    """CPU seconds of this process, and of the children that have ended."""
    return sum(os.times()[:4])
