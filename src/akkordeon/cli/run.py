"""`akkordeon run`: one process, one training and one validation sentinel, and a test at the end."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import typer

from akkordeon.datasets import Loader
from akkordeon.errors import AkkordeonError
from akkordeon.network import Network, launch
from akkordeon.recipes import mnist
from akkordeon.sentinel import TestSentinel, TrainingSentinel, ValidationSentinel

__all__ = ["Settings", "run_recipe"]

RECIPES = {"mnist": mnist}


@dataclass(frozen=True)
class Settings:
    """The options of the command."""

    in_flight: int
    epochs: int
    validate_every: float
    batch_size: int
    lr: float
    take: int | None
    seed: int
    folder: Path | None


def run_recipe(name: str, settings: Settings) -> int:
    """Train a recipe and print its reports.

    Returns:
        The exit code: 0, 1 if training failed, 2 if the recipe is not known, 130 after Ctrl-C.
    """
    recipe = RECIPES.get(name)
    if recipe is None:
        typer.echo(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}", err=True)
        return 2
    torch.manual_seed(settings.seed)
    batches = partial(recipe.batches, batch_size=settings.batch_size, seed=settings.seed, folder=settings.folder)
    try:
        updates = settings.epochs * len(batches("train", slice(settings.take)))
        with launch(recipe.gates(settings.lr, updates)) as network:
            return _train(network, settings, batches)
    except AkkordeonError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        return 1


def _train(network: Network, settings: Settings, batches: partial[Loader]) -> int:
    loss, metrics = mnist.loss, mnist.metrics
    training = TrainingSentinel(
        "train",
        partial(batches, "train", slice(settings.take)),
        loss,
        metrics,
        in_flight=settings.in_flight,
        epochs=settings.epochs,
        seed=settings.seed,
    )
    validation = partial(ValidationSentinel, "validation", partial(batches, "validate"), loss, metrics)
    test = TestSentinel("test", partial(batches, "test"), loss, metrics, outputs=False)
    began = time.monotonic()
    network.attach(training)
    network.attach(validation(every=settings.validate_every))
    try:
        _print_reports(network)
        typer.echo(f"trained for {time.monotonic() - began:.1f} s")
        network.detach("validation")
        for last in (validation(), test):
            network.attach(last)
            _print_reports(network)
    except KeyboardInterrupt:
        typer.echo("stopping: waiting for the batches in flight (Ctrl-C again leaves at once)", err=True)
        for name in ("train", "validation", "test"):
            network.detach(name)
        return 130
    return 0


def _print_reports(network: Network) -> None:
    for report in network.watch():
        typer.echo(report)
