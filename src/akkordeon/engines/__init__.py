"""Where actors run. An engine knows no gate, no sentinel and no meaning of a message."""

from akkordeon.engines.stepped import Stepped
from akkordeon.engines.threads import Threads

__all__ = ["Stepped", "Threads"]
