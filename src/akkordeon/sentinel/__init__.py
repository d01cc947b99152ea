"""A sentinel: data, loss and metrics, which trains, validates or tests.

`TrainingSentinel`, `ValidationSentinel` and `TestSentinel` describe one, `SentinelActor` is one that lives. It draws
batches through `prefetch`, keeps those in flight in `in_flight`, and sums figures up in `epochs`. Open
`description.TrainingSentinel` first, then `actor.SentinelActor`.
"""

from akkordeon.sentinel.description import TestSentinel as TestSentinel
from akkordeon.sentinel.description import TrainingSentinel as TrainingSentinel
from akkordeon.sentinel.description import ValidationSentinel as ValidationSentinel
