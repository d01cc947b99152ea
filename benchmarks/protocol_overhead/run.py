"""Measures the cost of the protocol where no gate fails: this version against an earlier one, 784-50-20-10.

Both versions run at once, each in a process of its own, and take turns, one epoch of 60 batches each, so that drift of
the machine affects both. A pair of epochs in which other processes used more than 5 % of the CPU is void.

Examples:
  git worktree add ../before c458ea6                  # the commit before the protocol
  python -m benchmarks.protocol_overhead ../before    # some minutes; writes results.json and table.md
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.apart import FOREIGN, with_interval
from benchmarks.common.claims import parser, write_results, write_table
from benchmarks.protocol_overhead.worker import BATCH

HERE, PACKAGE = Path(__file__).parent, "benchmarks.protocol_overhead"
ROOT = HERE.parent.parent
PAIRS = 100


class Version:
    """A version of akkordeon in a process of its own."""

    def __init__(self, source: Path, in_flight: int) -> None:
        # The benchmark is that of this version, the library that of `source`.
        environment = os.environ | {"PYTHONPATH": f"{source.resolve() / 'src'}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-m", f"{PACKAGE}.worker", str(in_flight), str(PAIRS)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=ROOT)

    def epoch(self) -> list[float]:
        """Train an epoch; return seconds, and seconds of CPU."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        took: list[float] = json.loads(self.process.stdout.readline())
        return took

    def end(self) -> None:
        """Close its input, and wait for its end."""
        self.process.communicate()


def busy() -> float:
    """Return the CPU seconds of all processes since the machine started, steal included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def compare(before: Path, in_flight: int) -> list[tuple[float, float]]:
    """Return the ratio of this version to the earlier one, in seconds and in seconds of CPU, by pair of epochs."""
    versions = [Version(source, in_flight) for source in (before, ROOT)]
    ratios: list[tuple[float, float]] = []
    for pair in range(PAIRS):
        began, others = time.monotonic(), busy()
        order = versions if pair % 2 else versions[::-1]
        took = {version: version.epoch() for version in order}
        (seconds, cpu), (seconds_now, cpu_now) = (took[version] for version in versions)
        foreign = (busy() - others - cpu - cpu_now) / ((time.monotonic() - began) * (os.cpu_count() or 1))
        if pair >= PAIRS // 10 and foreign <= FOREIGN:  # the first ones warm up
            ratios.append((seconds_now / seconds, cpu_now / cpu))
    for version in versions:
        version.end()
    return ratios


def row(in_flight: int, ratios: Sequence[tuple[float, float]]) -> str:
    """Return a row of the table."""
    seconds, cpu = (with_interval(each, ".3f") for each in zip(*ratios, strict=True))
    return f"| {in_flight} in flight | {len(ratios)} | {seconds} | {cpu} |"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("before", type=Path, help="a checkout of the earlier version")
    chosen = options.parse_args(arguments)
    results = {in_flight: compare(chosen.before, in_flight) for in_flight in (1, 4)}
    head = [
        f"784-50-20-10, batch {BATCH}, SGD; this version to the one before, medians and their 95 % intervals.",
        "",
        "| | pairs of epochs | seconds | CPU seconds |",
        "| --- | --- | --- | --- |",
    ]
    write_results(HERE, results)
    write_table(HERE, [*head, *(row(in_flight, ratios) for in_flight, ratios in results.items())])
