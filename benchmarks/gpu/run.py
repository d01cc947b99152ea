"""Compares throughput and memory on one GPU: akkordeon and the plain loop, both in bfloat16.

The model is a GPT of 12 blocks and width 768 (85 million parameters; characters, so hardly any in the embedding), split
into 4 gates. All arms have the same model, batches, optimizer (AdamW) and autocast: the plain loop, the same with the
model compiled, and one sentinel with 1 to 4 batches in flight. The figure of an arm is the median over its epochs, in a
fresh process; all arms of a round run one after the other.

Examples:
  python -m benchmarks.gpu                            # everything, on the first GPU; writes results.json, table.md
  python -m benchmarks.gpu --rounds 3                 # fewer rounds
  python -m benchmarks.gpu --tiny --device cpu        # a small model, to test the benchmark; writes nothing
  python -m benchmarks.gpu --arm "cuda full plain"    # one arm, in this process; prints JSON

Without that device it says so and exits with code 0. `Memory.expected` explains the expected memory.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

import akkordeon as ak
from akkordeon.recipes import char_gpt
from benchmarks.common.apart import rounds, run_apart, with_interval
from benchmarks.common.claims import parser, write_results, write_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.gpu"
ROUNDS, WARM_UP, EPOCHS, GATES = 7, 2, 5, 4
LR = 3e-4
TIME_LIMIT = 900.0
"""Seconds that a batch may be in flight: compiled gates take a minute or more for their first one."""

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Size:
    """Of the model and its batches; an epoch, the unit of time, has `batches` of them."""

    width: int
    heads: int
    blocks: int
    context: int
    batch: int
    batches: int

    def pieces(self) -> list[nn.Sequential]:
        """Return the modules of the gates; the same weights in every process."""
        torch.manual_seed(0)
        parts = list(char_gpt.model(self.width, self.heads, self.blocks, self.context))
        each = len(parts) // GATES
        return [nn.Sequential(*parts[begin : begin + each]) for begin in range(0, len(parts), each)]

    def data(self, device: torch.device) -> list[Batch]:
        """Return the batches of an epoch, in pinned memory for a GPU, as a `DataLoader` yields them."""
        shape = (self.batches, 2, self.batch, self.context)
        codes = torch.randint(0, 65, shape, generator=torch.Generator().manual_seed(0))
        pairs = [(x.clone(), target.clone()) for x, target in codes]
        return [(x.pin_memory(), target.pin_memory()) for x, target in pairs] if device.type == "cuda" else pairs


SIZES = {"full": Size(768, 12, 12, 1024, 8, 20), "tiny": Size(32, 2, 4, 16, 4, 2)}


# The arms: seconds of each epoch


def plain(size: Size, device: torch.device, *, compiled: bool = False) -> Iterator[float]:
    """Yield seconds of each epoch of a plain loop."""
    model: Any = nn.Sequential(*size.pieces()).to(device)
    optimizer = AdamW(model.parameters(), lr=LR)
    run = torch.compile(model) if compiled else model
    data = size.data(device)
    while True:
        began = time.perf_counter()
        for x, target in data:
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16):
                output = run(x.to(device, non_blocking=True))
            loss = cross_entropy(output.float(), target.to(device, non_blocking=True))
            torch.autograd.backward(loss)
            optimizer.step()
            loss.item()
        wait(device)
        yield time.perf_counter() - began


def actors(size: Size, device: torch.device, in_flight: int, *, compiled: bool = False) -> Iterator[float]:
    """Yield seconds of each epoch of one sentinel."""
    settings: Any = {"device": device, "autocast": torch.bfloat16, "compile": compiled}
    make = partial(AdamW, lr=LR)
    gates = [ak.Gate(f"gate{number}", piece, make, **settings) for number, piece in enumerate(size.pieces())]
    data = size.data(device)
    sentinel = ak.TrainingSentinel(
        "train", lambda: data, cross_entropy, in_flight=in_flight, epochs=WARM_UP + EPOCHS, time_limit=TIME_LIMIT
    )
    with ak.launch(gates) as network:
        network.attach(sentinel)
        began = time.perf_counter()
        for _ in network.watch():
            wait(device)
            now = time.perf_counter()
            yield now - began
            began = now


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Arm = Callable[[Size, torch.device], Iterator[float]]

ARMS: dict[str, Arm] = {
    "plain": plain,
    "plain, compiled": partial(plain, compiled=True),
    **{f"akkordeon, {number} in flight": partial(actors, in_flight=number) for number in (1, 2, 3, 4)},
    "akkordeon, 3 in flight, compiled": partial(actors, in_flight=3, compiled=True),
}
TINY = ["plain", "akkordeon, 1 in flight", "akkordeon, 2 in flight"]


# Memory


@dataclass(frozen=True)
class Memory:
    """Bytes of one model.

    Args:
        weights: of all parameters.
        activations: that a forward saves for its backward, for one batch, at all gates together.
    """

    weights: int
    activations: int

    def expected(self, in_flight: int | None) -> int:
        """Return the peak in the plain loop (None) or with a number of batches in flight.

        Live weights W; AdamW keeps two moments of each, 2 W. Each batch in flight keeps its activations, A, and the
        version of the weights of its forward: W, if no two batches share one. The gradients are W in the plain loop;
        those of a gate are W / 4, live from its backward to its update, and in general not at the same time.

            plain    W + 2 W + W + A
            actors   W (1 + in_flight) + 2 W + W / 4 + A * in_flight

        Both are upper bounds: a backward frees activations while it makes gradients, and the last gates, where
        staleness is small, keep fewer versions than the first. The bfloat16 copies of weights count in A.
        """
        if in_flight is None:
            return 4 * self.weights + self.activations
        return (3 + in_flight) * self.weights + self.weights // GATES + in_flight * self.activations


def kept(size: Size, device: torch.device) -> Memory:
    """Measure weights, and the storages that a forward saves for its backward, without weights."""
    model = nn.Sequential(*size.pieces()).to(device)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = size.data(device)[0][0].to(device)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast(device.type, torch.bfloat16),
    ):
        output = model(x)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    del output
    return Memory(weights, sum(saved.values()))


@contextmanager
def peak_of(device: torch.device) -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the peak of allocated bytes; None on a device that does not count them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield lambda: torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


# Measuring and reporting


def measure(arm: str) -> dict[str, Any]:
    """Measure one arm, named by device, size and way to train."""
    where, scale, what = arm.split(" ", 2)
    device, size = torch.device(where), SIZES[scale]
    memory = kept(size, device)
    with peak_of(device) as peak:
        took = list(itertools.islice(ARMS[what](size, device), WARM_UP + EPOCHS))
        figures = {"seconds": median(took[WARM_UP:]), "peak": peak()}
    number = next((int(word) for word in what.split() if word.isdigit()), None)
    return {
        **figures,
        "weights": memory.weights,
        "activations": memory.activations,
        "expected": memory.expected(number),
    }


def report(found: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the table: throughput as a ratio to the plain loop, and memory beside what is expected."""
    lines = [
        "| arm | seconds per epoch | throughput to plain | peak memory, MiB | expected, MiB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for arm in found[0]:
        ratio = with_interval([each["plain"]["seconds"] / each[arm]["seconds"] for each in found])
        seconds = median(each[arm]["seconds"] for each in found)
        peak, expected = found[0][arm]["peak"], found[0][arm]["expected"]
        mib = "not counted" if peak is None else f"{peak / 2**20:.0f}"
        lines.append(f"| {arm} | {seconds:.4f} | {ratio} | {mib} | {expected / 2**20:.0f} |")
    return "\n".join(lines) + "\n"


def absent(device: torch.device) -> str | None:
    """Return the message that a device is missing; None if it is there."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type != "cuda" or (device.index or 0) < there:
        return None
    return f"no {device}: torch {torch.__version__} finds {there} GPUs; nothing was measured"


def measure_all(device: torch.device, *, tiny: bool, wanted: int) -> None:
    """Measure all arms; write results and table unless they are of the tiny model."""
    head = f"{device} {'tiny' if tiny else 'full'}"
    arms = {f"{head} {arm}": arm for arm in (TINY if tiny else ARMS)}
    counted = [{arm: run_apart(PACKAGE, arm)[0] for arm in arms}] if tiny else rounds(PACKAGE, list(arms), wanted)
    found = [{arms[arm]: figures for arm, figures in each.items()} for each in counted]
    if not found:
        print("no round was quiet")
    elif tiny:
        print(report(found), end="")
    else:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        write_results(HERE, found)
        write_table(HERE, [f"{name}, torch {torch.__version__}, {len(found)} rounds.", "", *report(found).splitlines()])


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--device", type=torch.device, default=torch.device("cuda"), help="default: %(default)s")
    options.add_argument("--tiny", action="store_true", help="a small model, one round; tests the benchmark itself")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="number of quiet rounds (default: %(default)s)")
    options.add_argument("--arm", metavar="'DEVICE SIZE ARM'", help="measure this alone, in this process; print JSON")
    chosen = options.parse_args(arguments)
    if chosen.arm:
        torch.set_num_threads(1)  # like the workers of akkordeon; matters only if the device is the CPU
        print(json.dumps(measure(chosen.arm)))
    elif (missing := absent(chosen.device)) is not None:
        print(missing)
    else:
        measure_all(chosen.device, tiny=chosen.tiny, wanted=chosen.rounds)
