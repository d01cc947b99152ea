"""`akkordeon network`: opens a network that others join, shows what happens, and closes it."""

import logging
import shlex
from collections.abc import Callable
from contextlib import ExitStack

import torch

from akkordeon.cli.output import Output
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.remote import lacking
from akkordeon.cli.plan import check_rates, compensated
from akkordeon.cli.reaching import Where
from akkordeon.cli.recipe import Recipe, load
from akkordeon.cli.terminal_options import NetworkOptions
from akkordeon.engines import Ray
from akkordeon.errors import AkkordeonError
from akkordeon.gate import Gate
from akkordeon.launching import launch
from akkordeon.network import Network
from akkordeon.placement import Placement
from akkordeon.cli.every import Every
from akkordeon.wiring import check_chain

__all__ = ["open_network"]

logger = logging.getLogger(__name__)


def open_network(options: NetworkOptions, output: Output, interrupts: Interrupts) -> int:
    """Open a network, and hold it until somebody asks for its end.

    Returns:
        The exit code: 0, or what the signal that ended it asks for.

    Raises:
        AkkordeonError: a wrong input, or the network has failed.
    """
    recipe = load(options, {"lr": options.lr})
    check_rates(options)
    torch.manual_seed(options.seed)
    gates = compensated(recipe.gates(seed=options.seed), options.compensation)
    check_chain(gates)
    placement = Placement(dict(options.place or ()), options.hosts or (), wait=options.wait)
    placement.check(gates)
    with _launched(recipe, gates, placement, options, interrupts) as network:
        _tell(options, output)
        with interrupts.gently(lambda: _end(network, output)):
            _hold(network, options, output)
            _close(network, options, output)
    return interrupts.code or 0


def _launched(
    recipe: Recipe, gates: list[Gate], placement: Placement, options: NetworkOptions, interrupts: Interrupts
) -> Network:
    engine = Ray(str(options.address), name=options.name, **options.access)
    interrupts.renew()
    for module in recipe.own_modules():
        engine.ship(module)
    with lacking(f"the network of {options.recipe}"):
        return launch(
            gates,
            engine=engine,
            weights=options.weights,
            resume=options.resume,
            max_staleness=options.max_staleness,
            placement=placement,
        )


def _tell(options: NetworkOptions, output: Output) -> None:
    """Say that the network is open, and how to join it."""
    where = str(Where(options.address, options.name))
    rest = [options.recipe, *_same(options), "--network", where]
    what = [["train", *rest], ["validate", *rest, "--every", "20"]]
    lines = [shlex.join(["akkordeon", "sentinel", *each]) for each in what]
    output.event("open", address=str(options.address), name=options.name, join=lines)
    output.say(f"the network is open at {where}; Ctrl-C closes it. In other terminals, or on other machines, run:")
    for line in lines:
        output.say(f"  {line}")
    if not (options.address.is_loopback or options.tls or options.ray_address):
        output.warn(
            "warning: whoever can listen between the machines can read the token and what they send, and with the "
            "token run code on them; encrypt with --tls (see akkordeon tls --help) unless all there are trusted"
        )


def _same(options: NetworkOptions) -> list[str]:
    """Return the options that whoever joins must have in common with the network."""
    settings = [part for key, value in options.settings or () for part in ("-o", f"{key}={value}")]
    access = {"--token": options.token, "--tls": options.tls, "--ray-address": options.ray_address}
    given = [part for key, value in access.items() if value is not None for part in (key, str(value))]
    return [*settings, *given, *(["--insecure"] if options.insecure else [])]


def _hold(network: Network, options: NetworkOptions, output: Output) -> None:
    """Show what happens until somebody asks for the end.

    Raises:
        AkkordeonError: the network has failed.
    """
    with ExitStack() as stack:
        if options.save_every is not None:
            stack.enter_context(Every(options.save_every, lambda: _save_or_warn(network, options, output)))
        while not network.is_closing:
            try:
                _show(network, output, forever=True)
            except AkkordeonError as error:
                if (cause := network.cause()) is not None:
                    raise cause from None
                output.warn(f"warning: {error}")


def _show(network: Network, output: Output, *, forever: bool) -> None:
    for report in network.watch(forever=forever):
        output.report(report)


def _end(network: Network, output: Output) -> None:
    """Ask for the end; called in another thread when the user wants to stop."""
    output.warn("closing: waiting for the batches in flight (Ctrl-C again leaves at once)")
    try:
        network.end()
    except AkkordeonError as error:
        output.error(error)


def _close(network: Network, options: NetworkOptions, output: Output) -> None:
    """Let all sentinels leave, and save, where that was asked for."""
    for name in network.attached():
        _try(lambda name=name: network.detach(name), output)  # type: ignore[misc]
    _try(lambda: _show(network, output, forever=False), output)
    if options.save is not None:
        path = network.save(options.save)
        output.event("saved", path=path)
        output.say(f"saved to {path}")
    output.event("closed")


def _try(action: Callable[[], None], output: Output) -> None:
    """Do what may fail without being in the way of what comes after."""
    try:
        action()
    except AkkordeonError as error:
        output.warn(f"warning: {error}")


def _save_or_warn(network: Network, options: NetworkOptions, output: Output) -> None:
    assert options.save is not None
    try:
        path = network.save(options.save)
    except (AkkordeonError, OSError) as error:  # the disk may be full for now; training is worth more
        logger.warning("could not save to %s: %s", options.save, error)
    else:
        output.event("saved", path=path)
