"""This machine's share of a Ray cluster: addresses, secrets, and the node. Imports neither torch nor Ray.

Open `node.Node` first.

node = Node.head(Address.parse("127.0.0.1:25520"))  # or Node.join(network)
os.environ.update(node.environment)
ray.init(address=str(node.address), _node_ip_address=node.ip)
"""

from akkordeon.engines.ray.cluster.access import Access
from akkordeon.engines.ray.cluster.address import Address, own_address
from akkordeon.engines.ray.cluster.installed import check_ray
from akkordeon.engines.ray.cluster.node import Node, check_port
from akkordeon.engines.ray.cluster.probe import Answer, Cause, check_cluster, probe
from akkordeon.engines.ray.cluster.tls import Tls
from akkordeon.engines.ray.cluster.tokens import Token, new_token, read_token, token_path

__all__ = [
    "Access",
    "Address",
    "Answer",
    "Cause",
    "Node",
    "Tls",
    "Token",
    "check_cluster",
    "check_port",
    "check_ray",
    "new_token",
    "own_address",
    "probe",
    "read_token",
    "token_path",
]
