"""Starts and calls Ray with the settings that differ from its defaults, each with the reason."""

import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from akkordeon.engines.ray.cluster.address import Address
from akkordeon.engines.ray.cluster.tls import Tls

RAY_SETTINGS = {
    "RAY_AUTH_TOKEN": "",  # a token in a variable would come before the one in the file
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # 15 by default: gates would starve on a busy machine
    "RAY_max_direct_call_object_size": "4000000",  # batches go by value, which takes a tenth of the time
    "RAY_health_check_period_ms": "1000",  # with the next two, a machine that is cut off is noticed after 12 s, not 65
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_prestart_worker_first_driver": "0",  # one idle process of 90 MB per core
    "RAY_enable_worker_prestart": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # it would print the ends of processes, which the network reports in its own way
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # a node that is to end has no users any more
}

RAY_COMMAND = "import sys; sys.modules['grpc'] = None; from ray.scripts.scripts import main; main()"
"""The command `ray`, in a Python without grpcio: with it, Ray starts one more server, which listens for clients, and
refuses to be told not to."""


@dataclass(frozen=True, slots=True)
class Share:
    """One machine's share of a network.

    Args:
        network: where the network's head listens; by IPv4 address.
        ip: by which others reach this machine.
        token: its file; None for a network without one.
        tls: certificates, if connections are encrypted.
    """

    network: Address
    ip: str
    token: Path | None = None
    tls: Tls | None = None

    @property
    def name(self) -> str:
        """A short name, the same for all processes of a user on this machine that share it."""
        return sha256(f"{self.network} {self.ip}".encode()).hexdigest()[:8]


def for_users(share: Share) -> dict[str, str]:
    """Return the variables that a process needs before it imports Ray."""
    # Meant for other systems, this is the one switch that keeps the sockets of all processes on loopback.
    variables = {**RAY_SETTINGS, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if share.network.is_loopback else "1"}
    variables["RAY_AUTH_MODE"] = "token" if share.token else "disabled"
    if share.token:
        variables["RAY_AUTH_TOKEN_PATH"] = str(share.token.absolute())
    return {**variables, **(share.tls.environment if share.tls else {"RAY_USE_TLS": "0"})}


def for_node(share: Share) -> Mapping[str, str]:
    """Return the environment of the node's processes: that of this one, with no other settings of Ray than ours."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    source = str(Path(__file__).parents[4])
    if source not in sysconfig.get_paths().values():  # not installed: found by way of the current folder, perhaps
        own["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [own.get("PYTHONPATH")])])
    return {**own, **for_users(share)}


def command(share: Share, temp_dir: Path, *, head: bool) -> list[str]:
    """Return what runs the node; -P keeps files of the current folder from being taken for modules of Python."""
    where = [f"--address={share.network}"]
    if head:
        where = ["--head", f"--port={share.network.port}", "--include-dashboard=false", "--no-monitor"]
    return [
        *(sys.executable, "-P", "-c", RAY_COMMAND, "start"),
        *where,
        f"--node-ip-address={share.ip}",
        f"--temp-dir={temp_dir}",
        f"--object-store-memory={512 * 1024**2}",  # bytes of shared memory for messages above 4 MB
        "--include-log-monitor=false",  # a process of 90 MB that copies what actors print to all drivers
        "--disable-usage-stats",
        "--block",
    ]
