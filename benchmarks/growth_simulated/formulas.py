"""Published formulas for the cost of GPipe and 1F1B, for a chain of equal gates.

Both cut a batch into pieces that go through the chain one after the other, and update all gates once at the end, so no
gradient is late. Links carry one message after the other in each direction, while gates compute.

References:
    GPipe: Huang et al., "GPipe: Efficient Training of Giant Neural Networks using Pipeline Parallelism", 2019,
    arXiv:1811.06965, section 2.3: the share of time that is lost is (p - 1) / (m + p - 1), with p gates and m pieces.
    1F1B: Narayanan et al., "Memory-Efficient Pipeline-Parallel DNN Training", 2021, arXiv:2006.09503 (PipeDream-flush),
    section 3.2: the same share is lost, and no gate keeps more pieces than there are gates from it to the end.
"""

from dataclasses import dataclass

from benchmarks.common.costs import Costs


@dataclass(frozen=True)
class Link:
    """A link between neighbours.

    Args:
        latency: seconds.
        transfer: seconds for which a message occupies its direction of the link.
    """

    latency: float = 0.0
    transfer: float = 0.0


def bubble(gates: int, pieces: int) -> float:
    """Return the share of time in which a gate is idle, where links take no time."""
    return (gates - 1) / (pieces + gates - 1)


def flushed_seconds(gates: int, pieces: int, costs: Costs) -> float:
    """Return the seconds of a batch where links take no time, of GPipe and 1F1B alike."""
    busy = pieces * (costs.forward + costs.backward)
    return busy / (1 - bubble(gates, pieces)) + costs.update


def gpipe_seconds(gates: int, pieces: int, costs: Costs, link: Link) -> float:
    """Return the seconds of a batch.

    Forward and backward, pieces pass gates and links as in a flow shop of equal jobs: the first piece takes the sum
    of all stations, each further one the time of the slowest. Latency delays only the first.
    """
    return sum(_wave(each, gates, pieces, link) for each in (costs.forward, costs.backward)) + costs.update


def _wave(seconds: float, gates: int, pieces: int, link: Link) -> float:
    links = gates - 1
    slowest = max(seconds, link.transfer) if links else seconds
    return gates * seconds + links * (link.latency + link.transfer) + (pieces - 1) * slowest


def stashed_by_gpipe(gates: int, pieces: int) -> int:
    """Return the most pieces that all gates together keep, without recomputation."""
    return gates * pieces


def stashed_by_1f1b(gates: int, pieces: int) -> int:
    """Return the most pieces that all gates together keep."""
    return sum(min(pieces, gates - gate) for gate in range(gates))
