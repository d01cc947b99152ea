"""Measures arms in fresh processes, one after the other, in rounds that count only if the machine was quiet.

Timings on a shared machine drift. Only figures from the same minute can be compared, and a round in which other
processes used the CPU cannot be compared at all.
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

FOREIGN = 0.05
"""Share of the CPU that other processes may use before a round is void."""

Figures = dict[str, Any]


def run_apart(module: str, arm: str) -> tuple[Figures, float]:
    """Run `python -m MODULE --arm ARM` in a process of its own.

    Returns:
        The JSON object on the last line of its output, and the share of the CPU that other processes used meanwhile.

    Raises:
        RuntimeError: the process failed; the message contains its standard error.
    """
    others, own, began = busy_seconds(), _own(), time.monotonic()
    command = [sys.executable, "-m", module, "--arm", arm]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    capacity = (time.monotonic() - began) * (os.cpu_count() or 1)
    if done.returncode:
        raise RuntimeError(f"python -m {module} --arm {arm!r} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]), (busy_seconds() - others - (_own() - own)) / capacity


def rounds(
    module: str,
    arms: Sequence[str],
    wanted: int,
    say: Callable[[str], None] = print,
    strangers: Sequence[str] = (),
) -> list[dict[str, Figures]]:
    """Run all arms one after the other until enough rounds count; give up after three times that number.

    Args:
        module: passed to `run_apart`.
        arms: their names.
        wanted: number of rounds that must count.
        say: receives a line of progress per round.
        strangers: arms whose processes are no children of theirs, such as those of a Ray cluster. Their CPU time
            would be taken for that of other processes.
    """
    counted: list[dict[str, Figures]] = []
    for number in range(3 * wanted):
        results = {arm: run_apart(module, arm) for arm in arms}
        foreign = max(share for arm, (_, share) in results.items() if arm not in strangers)
        say(f"round {number + 1}: others took {foreign:.1%}, so it {'is void' if foreign > FOREIGN else 'counts'}")
        if foreign <= FOREIGN:
            counted.append({arm: figures for arm, (figures, _) in results.items()})
        if len(counted) == wanted:
            break
    return counted


def of_the_median(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % interval by ranks; for up to 7 values that is the minimum and the maximum."""
    ordered, num = sorted(values), len(values)
    low = max(0, num // 2 - round(0.98 * num**0.5))  # a binomial with p = 1/2
    return statistics.median(ordered), ordered[low], ordered[num - 1 - low]


def with_interval(values: Sequence[float], form: str = ".2f") -> str:
    """Format the median of values and its 95 % interval, as in "0.97 (0.95 - 0.99)"."""
    middle, low, high = of_the_median(values)
    return f"{middle:{form}} ({low:{form}} - {high:{form}})"


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> str:
    """Format the ratio of two medians, with the least and the greatest ratio of a pair of values."""
    pairs = [a / b for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(over) / statistics.median(under):.2f} ({min(pairs):.2f} - {max(pairs):.2f})"


def busy_seconds() -> float:
    """Return the CPU seconds that all processes took since the machine started, steal included. Only on Linux."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")  # but idle, and waiting for a disk


def _own() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])
