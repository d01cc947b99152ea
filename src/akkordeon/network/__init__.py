"""Networks, as users see them.

`launching` starts one or joins one that runs, `network` attaches, detaches, sets, watches, saves and closes,
`watching` turns events into reports, and `waiting` waits on an engine's clock. Open `network.Network` first.
"""

from akkordeon.network.network import Network as Network
