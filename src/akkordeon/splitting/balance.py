"""Chooses cuts so that no piece takes much longer than the others."""

from collections.abc import Sequence
from itertools import accumulate
from time import perf_counter

import torch
from torch import nn

from akkordeon.messages.tree import Tree, flatten, rebuild

REPETITIONS = 5
"""Measured runs of each piece, after one to warm up; the fastest counts."""


def evenly(costs: Sequence[float], parts: int) -> list[int]:
    """Return the first items of the second and following parts, such that the largest cost of a part is minimal.

    Args:
        costs: of the items, in order; each part is a run of at least one item.
        parts: number of parts, at most that of the items.
    """
    sums = list(accumulate(costs, initial=0.0))
    # best[end]: largest cost and first items of the parts, where the first `end` items are in `count` parts; among
    # equals the one whose last part is the longest. From the end, since each needs the best of one part less.
    best: list[tuple[float, list[int]]] = [(total, [0]) for total in sums]
    for count in range(1, parts):
        for end in range(len(costs), count, -1):
            found = ((max(best[cut][0], sums[end] - sums[cut]), [cut, *best[cut][1]]) for cut in range(count, end))
            best[end] = min(found)
    return best[-1][1][-2::-1]


def measure(pieces: Sequence[nn.Module], sample: Tree) -> list[float]:
    """Return the seconds of a forward and backward of each piece in training, on one thread.

    Args:
        pieces: of a model, in order; are changed.
        sample: input of the first piece.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            costs = []
            x = sample
            for number, piece in enumerate(pieces):
                piece.train()
                runs = [_run(piece, x, is_first=number == 0) for _ in range(1 + REPETITIONS)]
                costs.append(min(seconds for seconds, _ in runs[1:]))
                x = runs[-1][1]
    finally:
        torch.set_num_threads(threads)
    return costs


def _run(piece: nn.Module, x: Tree, *, is_first: bool) -> tuple[float, Tree]:
    leaves, structure = flatten(x)
    inputs = [leaf.detach().clone().requires_grad_(leaf.is_floating_point() and not is_first) for leaf in leaves]
    given = [leaf.clone() for leaf in inputs]  # the piece may write into its input
    start = perf_counter()
    outputs, shape = flatten(piece(rebuild(structure, given)))
    with_graph = [output for output in outputs if output.requires_grad]
    wanted = [tensor for tensor in (*inputs, *piece.parameters()) if tensor.requires_grad]
    if with_graph and wanted:
        ones = [torch.ones_like(output) for output in with_graph]
        torch.autograd.grad(with_graph, wanted, ones, allow_unused=True)
    return perf_counter() - start, rebuild(shape, [output.detach() for output in outputs])
