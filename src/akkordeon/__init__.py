"""Train one PyTorch network as a set of independent actors.

A *gate* is a piece of the model with its own optimizer. A *sentinel* is data, loss and metrics: it sends batches
through the gates, and their gradients back. Nobody waits for anybody.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from akkordeon import engines
    from akkordeon.cutting import split, untie
    from akkordeon.errors import (
        ActorFailed,
        ActorNotFound,
        AkkordeonError,
        BatchLost,
        BatchRefused,
        CheckpointDamaged,
        CheckpointMismatch,
        DataUnavailable,
        NameTaken,
        NoAnswer,
        RecipeError,
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
    "CheckpointDamaged",
    "CheckpointMismatch",
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
    "RecipeError",
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
    "split",
    "untie",
]

_HOMES = {
    "cutting": ("split", "untie"),
    "errors": (
        "ActorFailed",
        "ActorNotFound",
        "AkkordeonError",
        "BatchLost",
        "BatchRefused",
        "CheckpointDamaged",
        "CheckpointMismatch",
        "DataUnavailable",
        "NameTaken",
        "NoAnswer",
        "RecipeError",
        "SentinelFailed",
        "SharedTensorWritten",
        "WiringError",
    ),
    "events": ("Report", "SentinelStatus", "Status"),
    "gate": ("Gate",),
    "messages": ("GateStatus",),
    "metrics": ("accuracy",),
    "modules": ("DropConnect",),
    "network": ("Network", "launch"),
    "sentinel": ("TestSentinel", "TrainingSentinel", "ValidationSentinel"),
    "staleness": ("Arrival", "Compensation", "Compensator", "DelayCompensation"),
}
"""Which module each public name comes from. They are imported when first used: torch takes seconds, and help none."""


def __getattr__(name: str) -> object:
    if name == "engines":
        return import_module("akkordeon.engines")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"akkordeon.{home}"), name)
    raise AttributeError(f"module 'akkordeon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
