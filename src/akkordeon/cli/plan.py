"""What a run is going to attach, described before anything starts: what is wrong with a recipe shows at once."""

import dataclasses
from dataclasses import dataclass

import torch

from akkordeon.cli.options import RunOptions, part_of
from akkordeon.cli.recipe import Loader, Recipe
from akkordeon.cli.terminal_options import NetworkOptions
from akkordeon.errors import RecipeError
from akkordeon.gate.description import Gate
from akkordeon.sentinel.description import TestSentinel, TrainingSentinel, ValidationSentinel
from akkordeon.staleness.registry import named

EPOCHS, IN_FLIGHT, VALIDATE_EVERY = 10, 5, 2.0
"""Where neither the command line nor the recipe, by constants of these names, says otherwise."""


@dataclass(frozen=True)
class Plan:
    """All that takes part in a run."""

    gates: list[Gate]
    training: list[TrainingSentinel]
    validation: ValidationSentinel
    test: TestSentinel


def plan(recipe: Recipe, options: RunOptions) -> Plan:
    """Describe what a recipe and the options ask for.

    Raises:
        AkkordeonError: that cannot be; says why.
    """
    recipe.check_goal(options.until)
    check_rates(options)
    torch.manual_seed(options.seed)
    shares = [part_of(options.samples, (number, options.sentinels)) for number in range(1, options.sentinels + 1)]
    data = [recipe.loader("train", share, seed=options.seed) for share in shares]
    training = [_training(recipe, options, number, each) for number, each in enumerate(data, 1)]
    others = {split: recipe.loader(split, slice(None), seed=options.seed) for split in ("validate", "test")}
    torch.manual_seed(options.seed)  # so that initial weights do not depend on what the loaders drew
    gates = recipe.gates(seed=options.seed, **_updates(training, data))
    every = options.validate_every or recipe.default("VALIDATE_EVERY", VALIDATE_EVERY)
    loss, metrics, limit = recipe.loss, recipe.metrics, options.time_limit
    return Plan(
        compensated(gates, options.compensation),
        training,
        ValidationSentinel("validation", others["validate"], loss, metrics, every=every, time_limit=limit),
        TestSentinel("test", others["test"], loss, metrics, outputs=False, time_limit=limit),
    )


def _training(recipe: Recipe, options: RunOptions, number: int, data: Loader) -> TrainingSentinel:
    by_the_clock = options.seconds is not None and options.epochs is None
    epochs = None if by_the_clock else options.epochs or recipe.default("EPOCHS", EPOCHS)
    in_flight = options.in_flight or recipe.default("IN_FLIGHT", IN_FLIGHT)
    synchronously = epochs is not None and (options.finish_synchronously or 0) >= epochs
    return TrainingSentinel(
        "train" if options.sentinels == 1 else f"train-{number}",
        data,
        recipe.loss,
        recipe.metrics,
        in_flight=1 if synchronously else in_flight,
        epochs=epochs,
        seconds=options.seconds,
        time_limit=options.time_limit,
        seed=options.seed + number - 1,
    )


def _updates(training: list[TrainingSentinel], data: list[Loader]) -> dict[str, int]:
    """Return how many batches are planned, for schedules; nothing where that is not known."""
    planned = [
        sentinel.epochs * each.length
        for sentinel, each in zip(training, data, strict=True)
        if sentinel.epochs is not None and each.length is not None
    ]
    return {"updates": sum(planned)} if len(planned) == len(training) else {}


def check_rates(options: RunOptions | NetworkOptions) -> None:
    """Refuse a learning rate that would not be used.

    Raises:
        RecipeError: says how to use it.
    """
    if options.resume is not None and options.lr is not None:
        raise RecipeError(
            "--lr cannot be given with --resume, which goes on with the rates that were saved; to begin anew with the "
            f"saved weights, say --weights {options.resume}"
        )


def compensated(gates: list[Gate], names: str | None) -> list[Gate]:
    """Return the gates with the compensations of these names, or with their own if it is None.

    Raises:
        RecipeError: there is none of a name.
        WiringError: one does not go with the optimizer of a gate, or with another one; says why.
    """
    if names is None:
        return gates
    try:
        compensations = named(names)
    except ValueError as error:
        raise RecipeError(f"--compensation: {error}") from None
    return [dataclasses.replace(gate, compensation=compensations) for gate in gates]
