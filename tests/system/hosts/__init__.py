"""Several hosts on one machine: each has its own network, processes, shared memory, /tmp, /run and home.

Nothing of the machine's own network is touched, and nothing has a name that could stay behind: the kernel takes
everything down with the process that made it, however that one ends.
"""

from tests.system.hosts.commands import Command
from tests.system.hosts.host import Host, Process, Socket
from tests.system.hosts.hosts import Hosts
from tests.system.hosts.needs import HostsUnavailable
from tests.waiting import wait_until

__all__ = ["Command", "Host", "Hosts", "HostsUnavailable", "Process", "Socket", "wait_until"]
