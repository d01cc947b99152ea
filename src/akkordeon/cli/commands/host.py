"""`akkordeon host`: lends this machine to a network, to hold gates."""

import time
from typing import Annotated

from akkordeon.actor import Engine
from akkordeon.cli import values
from akkordeon.cli.options import REACH, ReachOptions
from akkordeon.cli.output import Output
from akkordeon.cli.remote import check_reach, is_open, joined
from akkordeon.engines.ray.cluster.home import wait_until


class HostCommand(ReachOptions):
    """Lend this machine to a network.

    \b
    Examples:
      akkordeon host --network 192.0.2.7:25520 --name A
      akkordeon host --network 192.0.2.7:25520 --name B --wait 600

    The network puts the gates here that its --place or --hosts gives to this name, and restarts
    them here. Ctrl-C takes the machine back: its gates restart elsewhere.
    """  # noqa: D301

    name: Annotated[str, REACH("NAME", "Name for --place and --hosts.", parser=values.name)]
    wait: Annotated[float, REACH("S", "Seconds to wait for the network.", min=0.0)] = 30.0

    def run(self, output: Output) -> None:
        """Hold gates until the user wants the machine back, or the network is closed."""
        check_reach(self, self.wait)
        from akkordeon.conductor.placement import HOST  # noqa: PLC0415 - imports torch

        def prepare(engine: Engine) -> None:
            wait_until(lambda: is_open(engine), time.monotonic() + self.wait)

        with joined(self, output, prepare=prepare, place=HOST + self.name, spares=1) as remote:
            output.tell(f"this machine holds gates as {self.name}; Ctrl-C takes it back", "lent", host=self.name)
            for _ in remote.watch():
                pass
            remote.await_end()  # its gates are needed until all is saved
        output.say(f"the network at {self.title} is closed")
