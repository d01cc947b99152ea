"""Trains with Hogwild: two processes that write into the same weights without locks, the baseline of shared memory.

Recht et al., NeurIPS 2011, arXiv 1106.5730.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import Any

import torch
from torch import multiprocessing, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from benchmarks.staleness.tasks import TASKS, evaluate

UPDATES, MOMENTUM = 530, 0.9
RATES = (0.0316, 0.1, 0.316)


def hogwild(
    seeds: int, say: Callable[[str], None], *, updates: int = UPDATES, rates: Sequence[float] = RATES
) -> dict[str, Any]:
    """Train 784-50-20-10 on MNIST with one process, and with two on shared weights, half of the updates each."""
    lines = ["| processes | η | accuracy | seconds of training |", "| ---: | ---: | ---: | ---: |"]
    for processes in (1, 2):
        tried = {lr: fmean(_train(processes, lr, 1000 + n, updates, test=False)[0] for n in range(2)) for lr in rates}
        lr = max(tried, key=lambda each: tried[each])
        runs = [_train(processes, lr, seed, updates, test=True) for seed in range(seeds)]
        say(f"hogwild: {processes} of 2 processes")
        accuracy = [each for each, _ in runs]
        spread = f" ± {stdev(accuracy):.2%}" if seeds > 1 else ""
        lines.append(f"| {processes} | {lr} | {fmean(accuracy):.2%}{spread} | {fmean(each for _, each in runs):.2f} |")
    about = (
        f"The network, the batches and {updates} updates as in the section before, SGD of momentum {MOMENTUM}; two "
        f"processes with one thread each write into the same weights, each with a momentum of its own. {seeds} seeds."
    )
    return {
        "title": "Hogwild on MNIST",
        "about": about,
        "sections": [{"title": "Shared weights", "table": lines, "arms": {}}],
    }


def _train(processes: int, lr: float, seed: int, updates: int, *, test: bool) -> tuple[float, float]:
    """Return accuracy, and seconds of training without the start of the processes."""
    task = TASKS["mnist-1024"]
    torch.manual_seed(seed)
    model = nn.Sequential(*task.modules())
    model.share_memory()
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(processes), context.SimpleQueue()
    running = [
        context.Process(target=_work, args=(model, lr, (seed, number, processes, updates), barrier, times))
        for number in range(processes)
    ]
    for each in running:
        each.start()
    for each in running:
        each.join()
    seconds = max(times.get() for _ in running)
    return evaluate(model, task.test() if test else task.held_out())[1], seconds


def _work(model: nn.Module, lr: float, share: tuple[int, int, int, int], barrier: Any, times: Any) -> None:
    seed, number, processes, updates = share
    torch.set_num_threads(1)
    optimizer = SGD(model.parameters(), lr=lr, momentum=MOMENTUM)
    own = itertools.islice(TASKS["mnist-1024"].train(seed), number, updates, processes)
    batch = next(own)
    barrier.wait()
    began = time.perf_counter()
    for x, target in itertools.chain([batch], own):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(model(x), target))
        optimizer.step()
    times.put(time.perf_counter() - began)
