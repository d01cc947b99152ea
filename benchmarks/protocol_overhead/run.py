"""What the protocol costs where nothing fails: this version against an earlier one, on the seed's network.

    git worktree add ../before c458ea6             # the commit before the protocol
    python benchmarks/faults/cost.py ../before     # some minutes; writes cost.md beside this file

Both versions live at once, each in a process of its own, and take turns, an epoch of 60 batches each: what slows the
machine down slows both. A pair of epochs in which other processes took more than 5 % of the CPU is void.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

HERE = Path(__file__).parent
PAIRS, BATCH, BATCHES, FOREIGN = 100, 1024, 60, 0.05


def run(in_flight: int) -> None:
    """Train an epoch for each line of input, with whatever akkordeon is found first; print how long each took."""
    import akkordeon as ak  # noqa: PLC0415 - which one, the caller decides

    torch.manual_seed(0)
    x, target = torch.rand(BATCHES * BATCH, 784), torch.randint(0, 10, (BATCHES * BATCH,))
    parts = {
        "stem": nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU()),
        "body": nn.Sequential(nn.Linear(50, 20), nn.ReLU()),
        "head": nn.Linear(20, 10),
    }
    gates = [ak.Gate(name, part, partial(SGD, lr=0.01)) for name, part in parts.items()]
    began = (0.0, 0.0)

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal began
        sys.stdin.readline()
        began = (time.perf_counter(), time.process_time())
        yield from zip(torch.split(x, BATCH), torch.split(target, BATCH), strict=True)

    with ak.launch(gates) as network:
        data = ak.TrainingSentinel("train", epoch, cross_entropy, in_flight=in_flight, epochs=PAIRS, time_limit=1e4)
        network.attach(data)
        for _ in network.watch():
            print(json.dumps([time.perf_counter() - began[0], time.process_time() - began[1]]), flush=True)


class Version:
    """A version at work in a process of its own."""

    def __init__(self, source: Path, in_flight: int) -> None:
        environment = os.environ | {"PYTHONPATH": str(source.resolve() / "src")}
        command = [sys.executable, __file__, "--run", str(in_flight), str(source)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def epoch(self) -> list[float]:
        """Let it train an epoch; return seconds, and seconds of CPU."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        took: list[float] = json.loads(self.process.stdout.readline())
        return took

    def end(self) -> None:
        """Let it go."""
        self.process.communicate()


def busy() -> float:
    """CPU seconds that all processes took since the machine started, steal included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def compare(before: Path, in_flight: int) -> str:
    """Return a row of the table: this version's time over the earlier one's."""
    versions = [Version(source, in_flight) for source in (before, HERE.parent.parent)]
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
    cells = [interval([ratio[each] for ratio in ratios]) for each in range(2)]
    return f"| {in_flight} in flight | {len(ratios)} | {' | '.join(cells)} |"


def interval(ratios: list[float]) -> str:
    """Return the median, and its interval of 95 %."""
    ordered, num = sorted(ratios), len(ratios)
    margin = round(0.98 * num**0.5)  # of ranks: a binomial with p = 1/2
    low, high = ordered[max(0, num // 2 - margin)], ordered[min(num - 1, num // 2 + margin)]
    return f"{statistics.median(ordered):.3f} ({low:.3f} - {high:.3f})"


def main(before: Path) -> None:
    """Compare, and write the table."""
    rows = [compare(before, in_flight) for in_flight in (1, 4)]
    head = [
        f"784-50-20-10, batch {BATCH}, SGD; this version to the one before, medians and their 95 % intervals.",
        "",
        "| | pairs of epochs | seconds | CPU seconds |",
        "| --- | --- | --- | --- |",
    ]
    table = "\n".join([*head, *rows]) + "\n"
    (HERE / "cost.md").write_text(table)
    print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the earlier version")
    parser.add_argument("--run", type=int, metavar="IN_FLIGHT", help="run this alone, in this process")
    chosen = parser.parse_args()
    if chosen.run is not None:
        run(chosen.run)
    else:
        main(chosen.before)
