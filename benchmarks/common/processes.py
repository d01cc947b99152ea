"""Trains with several processes, the alternatives to actors; each process uses one thread.

`DistributedDataParallel` halves each batch. Hogwild (Recht et al., NeurIPS 2011, arXiv 1106.5730) halves the number of
batches per process. `torch.distributed.pipelining` splits the model into stages and each batch into micro-batches.
"""

import itertools
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, multiprocessing, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from benchmarks.common.loops import EPOCHS, LR, WARM_UP, train
from benchmarks.common.models import MODELS, Model

RANKS = 2

TIMEOUT = timedelta(minutes=1)
"""Time after which a rank that waits for another one fails; the default is half an hour."""

Epoch = Callable[[], None]


def data_parallel(name: str) -> list[float]:
    """Return seconds of each epoch with the batches halved."""
    return _together(_data_parallel, name)


def hogwild(name: str) -> list[float]:
    """Return seconds of each epoch with half of the batches per process, on shared weights."""
    model = nn.Sequential(*MODELS[name].modules()).share_memory()
    return _together(_hogwild, name, model)


def pipeline(name: str, kind: str, pieces: int) -> list[float]:
    """Return seconds of each epoch with half of the model per process.

    Args:
        name: of the model.
        kind: "gpipe" or "1f1b".
        pieces: micro-batches of a batch.
    """
    return _together(_pipeline, name, kind, pieces)


def staged(model: Model, kind: str, pieces: int) -> list[float]:
    """Return seconds of each epoch with one process per module.

    Args:
        model: all its modules must take and return tensors of one shape.
        kind: as in `pipeline`.
        pieces: micro-batches of a batch.
    """
    return _together(_staged, model, kind, pieces, ranks=len(model.modules()))


def _together(begin: Callable[..., Epoch], *arguments: Any, ranks: int = RANKS) -> list[float]:
    context = multiprocessing.get_context("spawn")
    times = context.SimpleQueue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = (ranks, port, times, begin, arguments)
    started = [context.Process(target=_rank, args=(rank, *settings), daemon=True) for rank in range(ranks)]
    for each in started:
        each.start()
    for each in started:
        each.join()
    if any(each.exitcode for each in started):
        raise RuntimeError(f"a rank failed: {[each.exitcode for each in started]}")
    found: list[float] = times.get()
    return found


def _rank(rank: int, ranks: int, port: int, times: Any, begin: Callable[..., Epoch], arguments: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", rank=rank, world_size=ranks, timeout=TIMEOUT)
    epoch = begin(rank, *arguments)
    took = []
    for _ in range(WARM_UP + EPOCHS):
        distributed.barrier()
        began = time.perf_counter()
        epoch()
        distributed.barrier()
        took.append(time.perf_counter() - began)
    if rank == 0:
        times.put(took[WARM_UP:])
    distributed.destroy_process_group()


def _data_parallel(rank: int, name: str) -> Epoch:
    model = DistributedDataParallel(nn.Sequential(*MODELS[name].modules()))
    data = [(x.chunk(RANKS)[rank], target.chunk(RANKS)[rank]) for x, target in MODELS[name].data()]
    optimizer = SGD(model.parameters(), lr=LR)
    return lambda: train(model, optimizer, data)


def _hogwild(rank: int, name: str, model: nn.Module) -> Epoch:
    data = list(itertools.islice(MODELS[name].data(), rank, None, RANKS))
    optimizer = SGD(model.parameters(), lr=LR)
    return lambda: train(model, optimizer, data)


def _pipeline(rank: int, name: str, kind: str, pieces: int) -> Epoch:
    wanted = MODELS[name]
    return _stage(nn.Sequential(*_half(wanted, rank)), rank, RANKS, wanted, kind, pieces)


def _staged(rank: int, model: Model, kind: str, pieces: int) -> Epoch:
    modules = model.modules()
    return _stage(modules[rank], rank, len(modules), model, kind, pieces)


def _stage(module: nn.Module, rank: int, ranks: int, model: Model, kind: str, pieces: int) -> Epoch:
    stage = PipelineStage(module, rank, ranks, torch.device("cpu"))
    schedule = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}[kind](stage, pieces, loss_fn=cross_entropy)
    optimizer = SGD(module.parameters(), lr=LR)
    data = model.data()

    def epoch() -> None:
        for x, target in data:
            optimizer.zero_grad()
            losses: list[Any] = []
            if rank == 0:
                schedule.step(x)
            elif rank < ranks - 1:
                schedule.step()
            else:
                schedule.step(target=target, losses=losses)
                torch.stack(losses).mean().item()
            optimizer.step()

    return epoch


def _half(model: Model, rank: int) -> list[nn.Module]:
    """Return the modules of a rank, split where both ranks take most nearly the same time."""
    modules = model.modules()
    x, target = model.data()[0]
    costs = _costs(modules, x)
    cut = min(range(1, len(modules)), key=lambda at: max(sum(costs[:at]), sum(costs[at:])))
    agreed = torch.tensor(cut)  # as rank 0 measured it
    distributed.broadcast(agreed, 0)
    del target
    return modules[int(agreed) :] if rank else modules[: int(agreed)]


def _costs(modules: Sequence[nn.Module], x: torch.Tensor) -> list[float]:
    """Return the least seconds of three runs of each module, forward and backward."""
    costs = []
    for number, module in enumerate(modules):
        times = []
        for _ in range(3):
            given = x.detach().requires_grad_(number > 0)
            began = time.perf_counter()
            output = module(given)
            torch.autograd.backward(output, torch.ones_like(output))
            times.append(time.perf_counter() - began)
        module.zero_grad()
        costs.append(min(times))
        x = output
    return costs
