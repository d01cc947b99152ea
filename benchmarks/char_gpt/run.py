"""Compares the loss of the small GPT after equal tokens, trained synchronously and asynchronously.

Both arms have the same initial weights, windows in the same order, optimizer and schedule. They differ in `in_flight`
alone: 1 is synchronous training; with more, each gate updates with stale gradients. The loss is that of the held-out
tenth, after training. All figures are means over the seeds.

Examples:
  python -m benchmarks.char_gpt                   # two runs of 460,800 tokens per arm; writes results.json, table.md
  python -m benchmarks.char_gpt --tokens 76800    # a short one
  python -m benchmarks.char_gpt --text python --in-flight 4
"""

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

import akkordeon as ak
from akkordeon.datasets import Loader
from akkordeon.recipes import char_gpt
from benchmarks.common.claims import parser, write_results, write_table

HERE, PACKAGE = Path(__file__).parent, "benchmarks.char_gpt"
BATCH, CONTEXT = 12, 64
"""Windows per batch and characters per window: a batch of training has 768 tokens."""


class Result(NamedTuple):
    """Of one run: staleness and time of its training, then loss and accuracy on the held-out tenth."""

    in_flight: int
    loss: float
    accuracy: float
    seconds: float
    staleness: float


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    updates = math.ceil(options.tokens / (BATCH * CONTEXT))
    runs = itertools.product(range(options.seeds), (1, options.in_flight))
    results = [train(options, updates, seed, in_flight) for seed, in_flight in runs]
    write_results(HERE, [result._asdict() for result in results])
    write_table(HERE, describe(options, updates, results))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(PACKAGE, __doc__)
    options.add_argument("--tokens", type=int, default=460_800, help="to train each run with (default: %(default)s)")
    options.add_argument("--in-flight", type=int, default=8, help="of the asynchronous arm (default: %(default)s)")
    options.add_argument("--lr", type=float, default=2e-3, help="default: %(default)s, that of the recipe")
    options.add_argument("--seeds", type=int, default=2, help="runs per arm (default: %(default)s)")
    options.add_argument("--text", choices=char_gpt.TEXTS, default="auto", help="default: %(default)s")
    options.add_argument("--data", type=Path, help="folder (or file) of Shakespeare, if you have it")
    return options.parse_args(arguments)


def train(options: argparse.Namespace, updates: int, seed: int, in_flight: int) -> Result:
    """Train for a number of updates, then validate."""
    torch.manual_seed(seed)
    batches = partial(char_gpt.batches, folder=options.data, text=options.text, seed=seed, context=CONTEXT)
    training = ak.TrainingSentinel(
        "train",
        lambda: first(updates, batches("train", batch_size=BATCH)),
        char_gpt.loss,
        char_gpt.metrics,
        in_flight=in_flight,
        epochs=1,
    )
    validation = ak.ValidationSentinel("validation", partial(batches, "validate"), char_gpt.loss, char_gpt.metrics)
    gates = char_gpt.gates(updates=updates, context=CONTEXT, lr=options.lr)
    with ak.launch(gates) as network:
        trained, validated = (run(network, sentinel) for sentinel in (training, validation))
    mean = sum(late.mean for late in trained.staleness.values()) / len(trained.staleness)
    return Result(in_flight, validated.loss, validated.metrics["accuracy"], trained.seconds, mean)


def first(updates: int, loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a number of batches, over several epochs if need be."""
    return itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), updates)


def run(network: ak.Network, sentinel: ak.TrainingSentinel | ak.ValidationSentinel) -> ak.Report:
    network.attach(sentinel)
    report = list(network.watch())[-1]
    print(report, file=sys.stderr)
    return report


def describe(options: argparse.Namespace, updates: int, results: list[Result]) -> list[str]:
    gates = char_gpt.gates(context=CONTEXT)
    size = sum(parameter.numel() for gate in gates for parameter in gate.module.parameters())
    text = char_gpt.which(options.text, options.data)
    tokens = f"{updates * BATCH * CONTEXT:,} tokens of {text} per run ({updates:,} updates)"
    lines = [
        f"{size:,} parameters in {len(gates)} gates, {tokens}, learning rate {options.lr:g}, {options.seeds} seeds.",
        "",
        "| in flight | staleness | validation loss | min - max | gap | accuracy | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    arms = [[result for result in results if result.in_flight == number] for number in (1, options.in_flight)]
    alone = fmean(result.loss for result in arms[0])
    for arm in arms:
        _, loss, accuracy, seconds, staleness = (fmean(column) for column in zip(*arm, strict=True))
        spread = f"{min(result.loss for result in arm):.3f} - {max(result.loss for result in arm):.3f}"
        head = f"| {arm[0].in_flight} | {staleness:.1f} | {loss:.3f} | {spread} "
        lines.append(f"{head}| {loss - alone:+.3f} | {accuracy:.3f} | {seconds:.0f} |")
    return lines
