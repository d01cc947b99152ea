"""`akkordeon host`: lends this machine to a network, to hold gates of it."""

import time
from functools import partial

from akkordeon.cli.output import Output
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.remote import is_open, joined
from akkordeon.cli.terminal_options import HostOptions
from akkordeon.cluster.home import wait_until
from akkordeon.engines import Ray
from akkordeon.placement import HOST

__all__ = ["lend"]


def lend(options: HostOptions, output: Output, interrupts: Interrupts) -> int:
    """Lend this machine until the user wants it back, or the network is closed.

    Returns:
        The exit code: 0, or what the signal that ended it asks for.

    Raises:
        AkkordeonError: it cannot be lent, or the network has failed, or is gone.
    """
    prepare = partial(_await_network, options.wait)
    with joined(options, output, interrupts, prepare=prepare, place=HOST + options.name) as network:
        output.event("lent", host=options.name)
        output.say(f"this machine holds gates as {options.name}; Ctrl-C takes it back")
        for _ in network.watch():
            pass
        network.await_end()  # its gates are needed until all is saved
    output.say(f"the network at {options.told} is closed")
    return 0


def _await_network(seconds: float, engine: Ray) -> None:
    """Wait until there is a network; who looks for it then says why there is none."""
    wait_until(lambda: is_open(engine), time.monotonic() + seconds)
