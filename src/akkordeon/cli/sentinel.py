"""`akkordeon sentinel`: trains, validates or tests here, on the data here, a network of another terminal."""

import itertools
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from akkordeon.cli.console import Output
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.joined import Joined, joined, lacking
from akkordeon.cli.plan import IN_FLIGHT
from akkordeon.cli.recipe import Recipe, load
from akkordeon.cli.terminal_options import SentinelOptions, TrainOptions, ValidateOptions
from akkordeon.conductor.handshake import Handshake, own_handshake, shapes
from akkordeon.engines import Ray
from akkordeon.errors import AkkordeonError, WiringError
from akkordeon.sentinel.batch import as_pair
from akkordeon.sentinel.description import Sentinel, TestSentinel, TrainingSentinel, ValidationSentinel

Describe = Callable[[str], Sentinel]


def take_part(options: SentinelOptions, output: Output, interrupts: Interrupts) -> int:
    """Attach a sentinel, and show its reports until it has left.

    Returns:
        The exit code: 0, or what the signal that ended it asks for.

    Raises:
        AkkordeonError: a wrong input, or the sentinel or the network has failed, or is gone.
    """
    recipe = load(options, {"batch_size": options.batch_size, "folder": options.data and options.data.absolute()})
    kind = _kind(options)
    x, target = as_pair(recipe.first(recipe.data(kind, options.samples), kind), with_target=kind != "test")
    gates = recipe.gates()
    known = own_handshake(gates, shapes(x), None if target is None else shapes(target))
    ship = partial(_ship, recipe)
    with joined(options, output, interrupts, gates, ship) as network:
        name = _attach(network, options, partial(_describe, recipe, options), known)
        output.event("attached", sentinel=name)
        output.say(f"{name} has joined; Ctrl-C lets it leave")
        with interrupts.gently(partial(_leave, network, name, output)):
            _show(network, name, output)
    output.event("done", sentinel=name)
    return interrupts.code or 0


def _ship(recipe: Recipe, engine: Ray) -> None:
    for module in recipe.own_modules():
        engine.ship(module)


def _kind(options: SentinelOptions) -> str:
    match options:
        case TrainOptions():
            return "train"
        case ValidateOptions():
            return "validate"
    return "test"


def _describe(recipe: Recipe, options: SentinelOptions, name: str) -> Sentinel:
    seed = zlib.crc32(name.encode()) if options.seed is None else options.seed  # two must not go the same way
    kind, loss, metrics, limit = _kind(options), recipe.loss, recipe.metrics, options.time_limit
    data = recipe.data(kind, options.samples, seed=seed)
    match options:
        case TrainOptions():
            in_flight = options.in_flight or recipe.default("IN_FLIGHT", IN_FLIGHT)
            return TrainingSentinel(
                name,
                data,
                loss,
                metrics,
                in_flight=in_flight,
                epochs=options.epochs,
                seconds=options.seconds,
                time_limit=limit,
                seed=seed,
            )
        case ValidateOptions():
            in_flight = options.in_flight or ValidationSentinel.in_flight
            every = options.every
            return ValidationSentinel(name, data, loss, metrics, every=every, in_flight=in_flight, time_limit=limit)
    in_flight = options.in_flight or TestSentinel.in_flight
    return TestSentinel(name, data, loss, metrics, outputs=False, in_flight=in_flight, time_limit=limit)


def _attach(network: Joined, options: SentinelOptions, describe: Describe, known: Handshake) -> str:
    """Attach the sentinel; return the name that it has got.

    Raises:
        WiringError: it cannot join; says why.
    """
    kind = _kind(options)
    for number in itertools.count(1):
        name = options.name or (kind if number == 1 else f"{kind}-{number}")
        try:
            with lacking(f"the sentinel of {options.recipe}"):
                network.network.attach(describe(name), known)
        except WiringError:
            if options.name is not None or name not in network.network.attached():
                raise
        else:
            return name
    raise AssertionError


def _leave(network: Joined, name: str, output: Output) -> None:
    """Let the sentinel leave; called in another thread when the user wants to stop."""
    output.warn("leaving: waiting for the batches in flight (Ctrl-C again leaves at once)")
    try:
        network.network.detach(name)
    except AkkordeonError as error:
        output.error(error)


def _show(network: Joined, name: str, output: Output) -> None:
    """Show the reports of the sentinel until it has left.

    Raises:
        AkkordeonError: it has failed, or the network has, or is gone.
    """
    try:
        for report in network.network.watch(name):
            output.report(report)
    except AkkordeonError as error:
        network.check(error)
        raise
    if network.network.is_closing:
        with suppress(AkkordeonError):  # it is closed at the same time
            network.network.detach(name)
            for report in network.network.watch(name):
                output.report(report)
        network.gone()
