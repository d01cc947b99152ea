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
        NodeFailed,
        RecipeError,
        SaveFailed,
        SentinelFailed,
        SharedTensorWritten,
        TokenUnusable,
        Unreachable,
        UpdateFailed,
        WiringError,
    )
    from akkordeon.events import Report, SentinelStatus, Status
    from akkordeon.gate import Gate
    from akkordeon.histogram import Histogram
    from akkordeon.launching import connect, launch
    from akkordeon.metrics import Gauge, Mean, Perplexity, TopK, accuracy
    from akkordeon.modules import DropConnect
    from akkordeon.network import Network
    from akkordeon.placement import Placement
    from akkordeon.restore import load
    from akkordeon.sentinel import TestSentinel, TrainingSentinel, ValidationSentinel
    from akkordeon.signals import GateStatus
    from akkordeon.staleness import (
        Arrival,
        Compensation,
        Compensator,
        DelayCompensation,
        DiscrepancyCorrection,
        GapAware,
        GradientEnergyMatching,
        RateRescheduling,
        SpikeCompensation,
        StalenessLimit,
        StalenessScaledRate,
        WeightPrediction,
        nadamw,
    )
    from akkordeon.supervision import Supervision

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
    "DiscrepancyCorrection",
    "DropConnect",
    "GapAware",
    "Gate",
    "GateStatus",
    "Gauge",
    "GradientEnergyMatching",
    "Histogram",
    "Mean",
    "NameTaken",
    "Network",
    "NoAnswer",
    "NodeFailed",
    "Perplexity",
    "Placement",
    "RateRescheduling",
    "RecipeError",
    "Report",
    "SaveFailed",
    "SentinelFailed",
    "SentinelStatus",
    "SharedTensorWritten",
    "SpikeCompensation",
    "StalenessLimit",
    "StalenessScaledRate",
    "Status",
    "Supervision",
    "TestSentinel",
    "TokenUnusable",
    "TopK",
    "TrainingSentinel",
    "Unreachable",
    "UpdateFailed",
    "ValidationSentinel",
    "WeightPrediction",
    "WiringError",
    "accuracy",
    "connect",
    "engines",
    "launch",
    "load",
    "nadamw",
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
        "NodeFailed",
        "RecipeError",
        "SaveFailed",
        "SentinelFailed",
        "SharedTensorWritten",
        "TokenUnusable",
        "Unreachable",
        "UpdateFailed",
        "WiringError",
    ),
    "events": ("Report", "SentinelStatus", "Status"),
    "gate": ("Gate",),
    "histogram": ("Histogram",),
    "signals": ("GateStatus",),
    "metrics": ("Gauge", "Mean", "Perplexity", "TopK", "accuracy"),
    "modules": ("DropConnect",),
    "launching": ("connect", "launch"),
    "network": ("Network",),
    "placement": ("Placement",),
    "restore": ("load",),
    "sentinel": ("TestSentinel", "TrainingSentinel", "ValidationSentinel"),
    "supervision": ("Supervision",),
    "staleness": (
        "Arrival",
        "Compensation",
        "Compensator",
        "DelayCompensation",
        "DiscrepancyCorrection",
        "GapAware",
        "GradientEnergyMatching",
        "RateRescheduling",
        "SpikeCompensation",
        "StalenessLimit",
        "StalenessScaledRate",
        "WeightPrediction",
        "nadamw",
    ),
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
