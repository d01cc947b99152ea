"""Trains on a cluster of its own whose Ray loses calls, or their answers, and says what came of it, as JSON.

Arguments: how many of a hundred calls are lost on the way there, and how many on the way back.
"""

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import akkordeon as ak
from akkordeon.engines import Ray
from akkordeon.engines.ray.cluster import node, settings
from tests.network.counting import applied, training
from tests.network.patience import wait_until
from tests.system.distributed.chain import AT_ONCE, NAMES, gates

NUM = 60
"""Batches."""

IN_FLIGHT, PATIENCE = 20, 20.0
"""Batches in flight, and seconds that each has to come back; half of all attempts lose a call."""

LIMIT = 100.0
"""Seconds for all, on a quiet machine."""

METHOD = "CoreWorkerService.grpc_client.PushTask"
"""What all calls of actors are to Ray."""

INJECTED = re.compile(r"Inject RPC (request|response) failure for .*PushTask")


def lose(there: str, back: str) -> None:
    """Let the processes of actors lose calls, in the cluster that begins here; so Ray's own tests do."""
    chances = {"req_failure_prob": int(there), "resp_failure_prob": int(back), "in_flight_failure_prob": 0}
    without_end = {"num_failures": -1, **chances}
    before = settings.for_node

    def lossy(share: settings.Share) -> Mapping[str, str]:
        return {**before(share), "RAY_testing_rpc_failure": json.dumps({METHOD: without_end})}

    node.for_node = lossy  # type: ignore[attr-defined]


def injected() -> dict[str, int]:
    """Count what Ray has written down of the faults that it has injected, by kind."""
    logs = Path(tempfile.gettempdir()).glob("ak-*/*/r/session_2*/logs/*.log")
    return dict(sum((Counter(INJECTED.findall(log.read_text(errors="replace"))) for log in logs), Counter[str]()))


def follow(network: ak.Network) -> ak.SentinelStatus:
    """Wait until the sentinel has left; return how it stood before. What `watch` waits for may be lost."""
    seen = list[ak.SentinelStatus]()

    def has_left() -> bool:
        there = network.status().sentinels
        seen.extend(there)
        return not there

    wait_until(network, has_left, seconds=LIMIT, what="the sentinel to leave")
    return seen[-1]


def keeps_none(network: ak.Network) -> bool:
    """Whether no gate keeps a batch any more. Leases tell that a sentinel has left, and a lease may be lost, too."""
    return all(gate.open == 0 for gate in network.status().gates)


def main(there: str, back: str) -> None:
    """Train, and print figures."""
    lose(there, back)
    engine = Ray(spares=1)
    network = ak.launch(gates(NUM), engine=engine, supervision=AT_ONCE)
    with network:
        network.attach(training("train", 0, NUM, in_flight=IN_FLIGHT, time_limit=PATIENCE))
        last = follow(network)
        wait_until(network, lambda: keeps_none(network), seconds=LIMIT, what="the gates to forget who has left")
        counts, status, faults = applied(network, NAMES), network.status(), injected()
    figures = {
        "done": last.done,
        "resent": last.resent,
        "dropped": last.dropped,
        "restarts": status.restarts,
        "already_applied": sum(gate.skipped.get("already applied", 0) for gate in status.gates),
        "applied": [dict(Counter(gate)) for gate in counts],
        "injected": faults,
        "open": [gate.open for gate in status.gates],
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
