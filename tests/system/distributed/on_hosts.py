"""What runs on the hosts of a network: `network` trains on the first, `lend` makes another one a place for gates.

Further arguments: address of the network, and what the place is called. The network's lines are JSON: how it stands,
several times a second, and how often each batch was applied when it is told to end by SIGTERM.
"""

import json
import signal
import sys
import threading
from collections import Counter
from types import FrameType

import akkordeon as ak
from akkordeon.conductor.placement import HOST
from akkordeon.conductor.requests import Roster, Who
from akkordeon.engines import Access, Ray
from akkordeon.messages.states import StatusOf
from tests.network.counting import applied, training
from tests.system.distributed.chain import AT_ONCE, NAMES, gates
from tests.system.hosts.host import HOME
from tests.waiting import limit

TOKEN = f"{HOME}/token"

PLACEMENT = ak.Placement(fixed={"body": "B"}, hosts=["C"])
"""The first gate is on C, and so is the second one when B is gone."""

NUM = 20_000
"""Batches: more than can be trained within the time that there is."""

LOOK = 0.1
"""Seconds between two lines."""

LIMIT = 60.0
"""Seconds for all hosts to join, on a quiet machine."""


def say(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


def lend(address: str, place: str, ended: threading.Event) -> None:
    """Be a place for gates."""
    engine = Ray(address, join=True, access=Access(TOKEN), place=HOST + place, spares=0)
    say(joined=place)
    ended.wait()
    engine.close()


def train(address: str, ended: threading.Event) -> None:
    """Train until told to end."""
    engine = Ray(address, access=Access(TOKEN), spares=0)
    say(begun=address)
    wanted = {HOST + place for place in PLACEMENT.needed}
    waited = 0.0
    while not wanted <= {*engine.places()} and waited < limit(LIMIT):
        waited += LOOK
        ended.wait(LOOK)
    with ak.launch(gates(NUM + 1), engine=engine, supervision=AT_ONCE, placement=PLACEMENT) as network:
        network.attach(training("train", 0, NUM, time_limit=limit(LIMIT)))
        while not ended.wait(LOOK):
            look(network)
        network.detach("train")
        (report,) = network.watch()
        say(trained=report.samples, skipped=report.skipped, applied=[dict(Counter(n)) for n in applied(network, NAMES)])


def look(network: ak.Network) -> None:
    """Say how it stands, asking nobody on another host."""
    roster: Roster = network.conductor.ask(Who(), timeout=limit(LIMIT))
    status: ak.SentinelStatus = roster.sentinels[0].ask(StatusOf(), timeout=limit(LIMIT))
    say(
        done=status.done,
        resent=status.resent,
        dropped=status.dropped,
        restarts=roster.restarts,
        where=len(roster.gates),
    )


def main(task: str, address: str, place: str = "") -> None:
    """Take part until told to end."""
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    if task == "lend":
        lend(address, place, ended)
    else:
        train(address, ended)


if __name__ == "__main__":
    main(*sys.argv[1:])
