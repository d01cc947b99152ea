"""A network as users hold it.

`launching` starts one or joins one that runs, `network` attaches, detaches, sets, watches, saves and closes, and
`watching` turns events into reports. Open `network.Network` first.
"""

from akkordeon.network.network import Network as Network
