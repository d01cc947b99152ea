"""This machine's share of a Ray cluster: addresses, secrets, and the node. Imports neither torch nor Ray.

Open `node.Node` first.

node = Node.open(Address.parse("127.0.0.1:25520"))
os.environ.update(node.environment)
ray.init(address=str(node.address), _node_ip_address=node.ip)
"""

from akkordeon.engines.ray.cluster.access import Access as Access
from akkordeon.engines.ray.cluster.address import Address as Address
from akkordeon.engines.ray.cluster.address import own_address as own_address
from akkordeon.engines.ray.cluster.installed import check_ray as check_ray
from akkordeon.engines.ray.cluster.node import Node as Node
from akkordeon.engines.ray.cluster.node import check_port as check_port
from akkordeon.engines.ray.cluster.probe import Cause as Cause
from akkordeon.engines.ray.cluster.probe import check_cluster as check_cluster
from akkordeon.engines.ray.cluster.probe import probe as probe
from akkordeon.engines.ray.cluster.tls import Tls as Tls
from akkordeon.engines.ray.cluster.tokens import Token as Token
from akkordeon.engines.ray.cluster.tokens import new_token as new_token
from akkordeon.engines.ray.cluster.tokens import read_token as read_token
from akkordeon.engines.ray.cluster.tokens import token_path as token_path
