"""What runs in another terminal: `host NAME` lends a place to gates, `attach NAME` attaches a sentinel.

It says "ready", and stays until its input ends.
"""

import sys

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.conductor.placement import HOST
from akkordeon.engines import Ray
from tests.system.distributed.chain import endless_training


def main(address: str, name: str, task: str, what: str) -> None:
    """Take part in a network."""
    held: Engine | ak.Network
    if task == "host":
        held = Ray(address, join=True, name=name, place=HOST + what, spares=0)
    else:
        held = ak.connect(address, name=name)
        held.attach(endless_training(what))
    print("ready", flush=True)
    sys.stdin.read()
    held.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
