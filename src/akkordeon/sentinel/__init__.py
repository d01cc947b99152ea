"""A sentinel: data, loss and metrics, which trains, validates or tests.

Open `description.TrainingSentinel` first, which describes one beside `ValidationSentinel` and `TestSentinel`, then
`actor.SentinelActor`, which runs one. The actor draws batches through `prefetch`, keeps those in flight in `in_flight`,
and sums figures up in `epochs`.
"""

from akkordeon.sentinel.description import TestSentinel as TestSentinel
from akkordeon.sentinel.description import TrainingSentinel as TrainingSentinel
from akkordeon.sentinel.description import ValidationSentinel as ValidationSentinel
