"""Tables of the measurements."""

from typing import Any

from benchmarks.common.claims import table
from benchmarks.common.costs import Table, of_a_gate

Figures = dict[str, Any]


def sweeps_table(figures: Figures) -> str:
    """Return the table of the sweeps."""
    names = ["gates", "sentinels", "in flight, each", "batches/s", "CPU per gate and batch, us"]
    names += ["staleness first, last", "memory, MB", "s to start", "others' share of the CPU"]
    rows = []
    for sweep, measured in figures.items():
        rows.append([f"*{sweep}*", *[""] * (len(names) - 1)])
        rows += [_threads_row(each["point"], each["figures"], each["foreign"]) for each in measured]
    return table(names, rows)


def _threads_row(point: Figures, found: Figures, foreign: float) -> list[str]:
    late = f"{found['staleness_first']:.1f}, {found['staleness_last']:.1f}"
    sizes = [str(point[each]) for each in ("gates", "sentinels", "in_flight")]
    cpu = f"{1e6 * found['cpu_per_gate_and_batch']:.0f}"
    rest = [late, f"{found['memory_bytes'] / 1e6:.0f}", f"{found['seconds_to_begin']:.2f}", f"{max(0.0, foreign):.0%}"]
    return [*sizes, f"{found['batches_per_second']:.0f}", cpu, *rest]


def costs_table(measured: Table) -> str:
    """Return the table of the costs that the simulation draws on."""
    costs = of_a_gate(measured)
    found = {
        "forward of a gate": costs.forward,
        "backward of a gate": costs.backward,
        "update of a gate": costs.update,
        "of these, turns around the two computations": _turns(measured),
        "hop to an idle core": measured["hop"],
        "loss and gradient at a sentinel": measured["turn sentinel Forward"],
    }
    return table(["cost", "us"], [[what, f"{1e6 * seconds:.0f}"] for what, seconds in found.items()])


def _turns(table: Table) -> float:
    return sum(table[f"turn gate {kind}"] for kind in ("Forward", "Forward then", "Backward"))
