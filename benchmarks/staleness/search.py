"""Runs trials on all cores: chooses the learning rate of each arm on held-out data, then makes the final runs."""

import math
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import torch

from akkordeon.engines.posix import available_cores
from benchmarks.staleness import tasks
from benchmarks.staleness.arms import arms
from benchmarks.staleness.trial import Outcome, Trial, run

Say = Callable[[str], None]
T = TypeVar("T")

FACTORS = (0.1, 0.316, 1.0, 3.16)
"""Learning rates to try, as multiples of the usual one."""


class Pool:
    """Processes that run trials, each on one thread.

    Args:
        say: receives lines of progress.
        workers: processes; None for one per core.
        folder: of the text, if the user has it.
    """

    def __init__(self, say: Say, workers: int | None = None, folder: Path | None = None) -> None:
        self.say = say
        self._workers = workers or available_cores()
        context = get_context("spawn")  # a fork of a process that has used torch may hang
        self._over = context.Event()
        self._pool = ProcessPoolExecutor(
            self._workers, mp_context=context, initializer=_begin, initargs=(folder, self._over)
        )

    def run(self, what: str, trials: Iterable[Trial]) -> dict[Trial, Outcome]:
        """Run trials; return their outcomes in the order of the trials."""
        wanted = list(trials)
        running = {self._pool.submit(run, trial): trial for trial in wanted}
        outcomes = {}
        for number, future in enumerate(as_completed(running), 1):
            outcomes[running[future]] = future.result()
            if number == len(wanted) or number % max(1, len(wanted) // 8) == 0:
                self.say(f"{what}: {number} of {len(wanted)} runs")
        return {trial: outcomes[trial] for trial in wanted}

    def map(self, what: str, do: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> list[T]:
        """Call a function with each tuple of arguments; return the results in their order."""
        running = [self._pool.submit(do, *each) for each in arguments]
        for number, _ in enumerate(as_completed(running), 1):
            self.say(f"{what}: {number} of {len(running)}")
        return [each.result() for each in running]

    def close(self) -> None:
        """End the processes at once; unfinished trials are given up."""
        self._over.set()
        self._pool.shutdown(cancel_futures=True)


def _begin(folder: Path | None, over: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process gets it, too
    Thread(target=_leave, args=(over,), daemon=True).start()
    torch.set_num_threads(1)
    tasks.where.append(folder)


def _leave(over: Event) -> None:
    """End this process with its parent, or when the pool closes."""
    parent = parent_process()
    while parent is not None and parent.is_alive() and not over.wait(1.0):
        pass
    os._exit(1)


@dataclass(frozen=True)
class Best:
    """The outcomes of an arm at its best learning rate.

    Args:
        lr: that rate.
        outcomes: by seed.
        edge: whether the rate was the lowest or the highest of those tried.
    """

    lr: float
    outcomes: Mapping[int, Outcome]
    edge: bool = False

    def figures(self, of: Callable[[Outcome], float]) -> list[float]:
        """Return one figure of all runs, in the order of the seeds."""
        return [of(self.outcomes[seed]) for seed in sorted(self.outcomes)]


def tuned(
    pool: Pool,
    what: str,
    trials: Sequence[Trial],
    *,
    seeds: int,
    factors: Sequence[float] = FACTORS,
    tuning: int = 1,
    shorter: int | None = None,
) -> dict[str, Best]:
    """Choose the learning rate of each trial's arm, and run it with that for several seeds.

    Args:
        pool: to run in.
        what: name for the lines of progress.
        trials: one per arm, at the usual learning rate; seeds are set here.
        seeds: final runs per arm, with the same seeds in all arms.
        factors: of the usual rate, to try; with a single one, there are no tries.
        tuning: runs per rate, with other seeds than the final ones.
        shorter: updates of these runs; None for all.
    """
    rates = {t.arm: [t.lr * arms(t.family)[t.arm].faster * factor for factor in factors] for t in trials}
    chosen = dict.fromkeys(rates, (math.nan, False))
    if len(factors) == 1:
        chosen = {name: (lr, False) for name, (lr,) in rates.items()}
    else:
        tried = list(_tries(trials, rates, tuning, shorter))
        outcomes = pool.run(f"{what}, learning rates", tried)
        for name, own in rates.items():
            scores = {lr: _score(outcomes, name, lr) for lr in own}
            best = min(scores, key=lambda lr: scores[lr])
            chosen[name] = (best, best in (own[0], own[-1]))
    final = [
        replace(trial, lr=chosen[trial.arm][0], seed=seed, final=True) for trial in trials for seed in range(seeds)
    ]
    outcomes = pool.run(what, final)
    return {
        name: Best(lr, {t.seed: o for t, o in outcomes.items() if t.arm == name}, edge)
        for name, (lr, edge) in chosen.items()
    }


def _tries(
    trials: Sequence[Trial], rates: Mapping[str, Sequence[float]], tuning: int, shorter: int | None
) -> Iterator[Trial]:
    for trial in trials:
        for lr in rates[trial.arm]:
            for number in range(tuning):
                seed = 1000 + number
                updates = shorter or trial.updates
                warm_up = trial.warm_up * updates // trial.updates
                yield replace(trial, lr=lr, seed=seed, updates=updates, points=1, warm_up=warm_up)


def _score(outcomes: Mapping[Trial, Outcome], arm: str, lr: float) -> float:
    """Return the mean loss on held-out data; infinite where a run diverged."""
    found = [outcome.held_out for trial, outcome in outcomes.items() if trial.arm == arm and trial.lr == lr]
    return sum(found) / len(found) if all(map(math.isfinite, found)) else math.inf
