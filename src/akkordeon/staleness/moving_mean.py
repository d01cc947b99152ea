"""An exponential moving mean that starts without bias."""


class MovingMean:
    """A moving mean; the first values count equally, as in a plain mean.

    Attributes:
        value: the mean; 0 before the first value.
        count: number of values.

    Args:
        weight: of the latest value once there are more than 1 / weight values, in (0, 1].
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self.value = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        """Take in a value."""
        self.count += 1
        self.value += (value - self.value) * max(self._weight, 1 / self.count)
