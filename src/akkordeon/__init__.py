"""Train one PyTorch network as a set of independent actors.

A *gate* is a piece of the model with its own optimizer. A *sentinel* is data, loss and metrics: it sends batches
through the gates, and their gradients back. Nobody waits for anybody.
"""

from akkordeon import engines
from akkordeon.errors import (
    ActorFailed,
    ActorNotFound,
    AkkordeonError,
    BatchLost,
    BatchRefused,
    DataUnavailable,
    NameTaken,
    NoAnswer,
    SentinelFailed,
    SharedTensorWritten,
    WiringError,
)
from akkordeon.events import Report, SentinelStatus, Status
from akkordeon.gate import Gate
from akkordeon.messages import GateStatus
from akkordeon.metrics import accuracy
from akkordeon.modules import DropConnect
from akkordeon.network import Network, launch
from akkordeon.sentinel import TestSentinel, TrainingSentinel, ValidationSentinel
from akkordeon.staleness import Arrival, Compensation, Compensator, DelayCompensation

__all__ = [
    "ActorFailed",
    "ActorNotFound",
    "AkkordeonError",
    "Arrival",
    "BatchLost",
    "BatchRefused",
    "Compensation",
    "Compensator",
    "DataUnavailable",
    "DelayCompensation",
    "DropConnect",
    "Gate",
    "GateStatus",
    "NameTaken",
    "Network",
    "NoAnswer",
    "Report",
    "SentinelFailed",
    "SentinelStatus",
    "SharedTensorWritten",
    "Status",
    "TestSentinel",
    "TrainingSentinel",
    "ValidationSentinel",
    "WiringError",
    "accuracy",
    "engines",
    "launch",
]
