"""The number of batches that a sentinel may have in flight: as granted, or as few of these as training needs."""

from akkordeon.messages.leases import Orders
from akkordeon.sentinel.auto_window import AutoWindow, Change


class SendWindow:
    """How many batches a sentinel may have in flight.

    Attributes:
        granted: by the conductor; 0 before its first orders.
        auto: looks for the best size up to that; None where all that is granted is used.
    """

    def __init__(self) -> None:
        self.granted = 0
        self.auto: AutoWindow | None = None

    @property
    def size(self) -> int:
        """How many batches may be in flight now."""
        return self.granted if self.auto is None else self.auto.window

    def obey(self, orders: Orders) -> Change | None:
        """Take over what is granted; return what changes for a window that is being looked for."""
        self.granted = orders.window
        if not orders.auto:
            self.auto = None
        elif self.auto is None:
            self.auto = AutoWindow(orders.window)
        else:
            return self.auto.limit(orders.window)
        return None
