"""What the protocol costs where nothing fails: this version against an earlier one, on the seed's network.

    git worktree add ../before c458ea6             # the commit before the protocol
    python benchmarks/faults/cost.py ../before     # interleaved pairs of fresh processes; writes cost.md

A run's figures are those of its fastest epoch: seconds, and seconds of CPU of all its threads. A pair in which other
processes took more than 5 % of the CPU is void for seconds.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

HERE = Path(__file__).parent
PAIRS, BATCH, BATCHES, EPOCHS, FOREIGN = 15, 1024, 60, 10, 0.05


def run(in_flight: int) -> dict[str, float]:
    """Train for some epochs with whatever akkordeon is found first."""
    import akkordeon as ak  # noqa: PLC0415 - which one, the caller decides

    torch.manual_seed(0)
    x, target = torch.rand(BATCHES * BATCH, 784), torch.randint(0, 10, (BATCHES * BATCH,))
    parts = {
        "stem": nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU()),
        "body": nn.Sequential(nn.Linear(50, 20), nn.ReLU()),
        "head": nn.Linear(20, 10),
    }
    gates = [ak.Gate(name, part, partial(SGD, lr=0.01)) for name, part in parts.items()]
    with ak.launch(gates) as network:
        data = partial(zip, torch.split(x, BATCH), torch.split(target, BATCH), strict=True)
        network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=in_flight, epochs=EPOCHS))
        times = [(time.perf_counter(), time.process_time()) for _ in network.watch()]
    steps = [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(times[1:])]
    return {"seconds": min(step[0] for step in steps), "cpu": min(step[1] for step in steps)}


def run_apart(source: Path, in_flight: int) -> tuple[dict[str, float], float]:
    """Run with the akkordeon of a checkout; return its figures, and the share of the CPU that others took."""
    environment = os.environ | {"PYTHONPATH": str(source.resolve() / "src")}
    before, own, began = busy(), own_cpu(), time.monotonic()
    command = [sys.executable, __file__, "--run", str(in_flight), str(source)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    capacity = (time.monotonic() - began) * (os.cpu_count() or 1)
    foreign = (busy() - before - (own_cpu() - own)) / capacity
    return json.loads(out.splitlines()[-1]), foreign


def busy() -> float:
    """CPU seconds that all processes took since the machine started, steal included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def own_cpu() -> float:
    """CPU seconds of this process and its children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compare(before: Path, in_flight: int) -> str:
    """Return a row of the table: this version's time over the earlier one's."""
    now = HERE.parent.parent
    ratios: dict[str, list[float]] = {"seconds": [], "cpu": []}
    for pair in range(PAIRS):
        order = (before, now) if pair % 2 else (now, before)
        found = {source: run_apart(source, in_flight) for source in order}
        quiet = max(foreign for _, foreign in found.values()) <= FOREIGN
        for figure, values in ratios.items():
            if quiet or figure == "cpu":
                values.append(found[now][0][figure] / found[before][0][figure])
        print(pair, "quiet" if quiet else "void", found, file=sys.stderr, flush=True)
    cells = [
        f"{statistics.median(v):.3f} ({min(v):.2f} - {max(v):.2f}, {len(v)} pairs)" if v else ""
        for v in ratios.values()
    ]
    return f"| {in_flight} in flight | {' | '.join(cells)} |"


def main(before: Path) -> None:
    """Compare, and write the table."""
    rows = [compare(before, in_flight) for in_flight in (1, 4)]
    head = ["| batch 1024 | seconds, now to before | CPU seconds, now to before |", "| --- | --- | --- |"]
    table = "\n".join([*head, *rows]) + "\n"
    (HERE / "cost.md").write_text(table)
    print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the earlier version")
    parser.add_argument("--run", type=int, metavar="IN_FLIGHT", help="run this alone, in this process")
    chosen = parser.parse_args()
    if chosen.run is not None:
        print(json.dumps(run(chosen.run)))
    else:
        main(chosen.before)
