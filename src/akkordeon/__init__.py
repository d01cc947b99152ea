"""Train one PyTorch network as a set of independent actors.

A *gate* is a piece of the model with its own optimizer. A *sentinel* is data, loss and metrics: it sends batches
through the gates, and their gradients back. No gate waits for another.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from akkordeon import engines as engines
    from akkordeon.conductor.placement import Placement as Placement
    from akkordeon.conductor.supervision import Supervision as Supervision
    from akkordeon.errors import ActorFailed as ActorFailed
    from akkordeon.errors import ActorNotFound as ActorNotFound
    from akkordeon.errors import AkkordeonError as AkkordeonError
    from akkordeon.errors import BatchLost as BatchLost
    from akkordeon.errors import BatchRefused as BatchRefused
    from akkordeon.errors import CheckpointDamaged as CheckpointDamaged
    from akkordeon.errors import CheckpointMismatch as CheckpointMismatch
    from akkordeon.errors import DataUnavailable as DataUnavailable
    from akkordeon.errors import NameTaken as NameTaken
    from akkordeon.errors import NoAnswer as NoAnswer
    from akkordeon.errors import NodeFailed as NodeFailed
    from akkordeon.errors import RecipeError as RecipeError
    from akkordeon.errors import SaveFailed as SaveFailed
    from akkordeon.errors import SentinelFailed as SentinelFailed
    from akkordeon.errors import SharedTensorWritten as SharedTensorWritten
    from akkordeon.errors import TokenUnusable as TokenUnusable
    from akkordeon.errors import Unreachable as Unreachable
    from akkordeon.errors import UpdateFailed as UpdateFailed
    from akkordeon.errors import WiringError as WiringError
    from akkordeon.gate.description import Gate as Gate
    from akkordeon.gate.modules import DropConnect as DropConnect
    from akkordeon.messages.histogram import Histogram as Histogram
    from akkordeon.messages.reports import Report as Report
    from akkordeon.messages.reports import SentinelStatus as SentinelStatus
    from akkordeon.messages.reports import Status as Status
    from akkordeon.messages.states import GateStatus as GateStatus
    from akkordeon.network.best import Best as Best
    from akkordeon.network.events import Event as Event
    from akkordeon.network.history import History as History
    from akkordeon.network.launching import connect as connect
    from akkordeon.network.launching import launch as launch
    from akkordeon.network.network import Network as Network
    from akkordeon.network.recording import Sink as Sink
    from akkordeon.network.run_folder import RunFolder as RunFolder
    from akkordeon.network.sinks import Csv as Csv
    from akkordeon.network.sinks import TensorBoard as TensorBoard
    from akkordeon.network.sinks import Wandb as Wandb
    from akkordeon.saving.restore import load as load
    from akkordeon.sentinel.description import TestSentinel as TestSentinel
    from akkordeon.sentinel.description import TrainingSentinel as TrainingSentinel
    from akkordeon.sentinel.description import ValidationSentinel as ValidationSentinel
    from akkordeon.sentinel.metrics import Gauge as Gauge
    from akkordeon.sentinel.metrics import Mean as Mean
    from akkordeon.sentinel.metrics import Perplexity as Perplexity
    from akkordeon.sentinel.metrics import TopK as TopK
    from akkordeon.sentinel.metrics import accuracy as accuracy
    from akkordeon.splitting import split as split
    from akkordeon.splitting import untie as untie
    from akkordeon.staleness import Arrival as Arrival
    from akkordeon.staleness import Compensation as Compensation
    from akkordeon.staleness import Compensator as Compensator
    from akkordeon.staleness import DelayCompensation as DelayCompensation
    from akkordeon.staleness import DiscrepancyCorrection as DiscrepancyCorrection
    from akkordeon.staleness import GapAware as GapAware
    from akkordeon.staleness import GradientEnergyMatching as GradientEnergyMatching
    from akkordeon.staleness import RateRescheduling as RateRescheduling
    from akkordeon.staleness import SpikeCompensation as SpikeCompensation
    from akkordeon.staleness import StalenessLimit as StalenessLimit
    from akkordeon.staleness import StalenessScaledRate as StalenessScaledRate
    from akkordeon.staleness import WeightPrediction as WeightPrediction
    from akkordeon.staleness import nadamw as nadamw

_NAMES = {
    "conductor.placement": "Placement",
    "conductor.supervision": "Supervision",
    "errors": (
        "ActorFailed ActorNotFound AkkordeonError BatchLost BatchRefused CheckpointDamaged CheckpointMismatch "
        "DataUnavailable NameTaken NoAnswer NodeFailed RecipeError SaveFailed SentinelFailed "
        "SharedTensorWritten TokenUnusable Unreachable UpdateFailed WiringError"
    ),
    "gate.description": "Gate",
    "gate.modules": "DropConnect",
    "messages.histogram": "Histogram",
    "messages.reports": "Report SentinelStatus Status",
    "messages.states": "GateStatus",
    "network.best": "Best",
    "network.events": "Event",
    "network.history": "History",
    "network.launching": "connect launch",
    "network.network": "Network",
    "network.recording": "Sink",
    "network.run_folder": "RunFolder",
    "network.sinks": "Csv TensorBoard Wandb",
    "saving.restore": "load",
    "sentinel.description": "TestSentinel TrainingSentinel ValidationSentinel",
    "sentinel.metrics": "Gauge Mean Perplexity TopK accuracy",
    "splitting": "split untie",
    "staleness": (
        "Arrival Compensation Compensator DelayCompensation DiscrepancyCorrection GapAware "
        "GradientEnergyMatching RateRescheduling SpikeCompensation StalenessLimit StalenessScaledRate "
        "WeightPrediction nadamw"
    ),
}
"""The public names of each module. They are imported when first used: torch takes seconds, and help needs none."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["engines", *_MODULES]  # noqa: PLE0604 - all of them are strings


def __getattr__(name: str) -> object:
    if name == "engines":
        return import_module("akkordeon.engines")
    if name not in _MODULES:
        raise AttributeError(f"module 'akkordeon' has no attribute {name!r}")
    return getattr(import_module(f"akkordeon.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


_MOVED = {
    "checkpoint": "saving",
    "cluster": "engines.ray.cluster",
    "cutting": "splitting",
    "events": "messages.reports",
    "histogram": "messages.histogram",
    "launching": "network.launching",
    "metrics": "sentinel.metrics",
    "modules": "gate.modules",
    "placement": "conductor.placement",
    "restore": "saving.restore",
    "signals": "messages.states",
    "supervision": "conductor.supervision",
}
"""Modules of version 0.1 that hold public names, and where these are now."""


class _MovedModules(MetaPathFinder, Loader):
    """Finds a module at its path of version 0.1, and warns. Version 0.3 will not."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == "akkordeon" and name in _MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        new = f"akkordeon.{_MOVED[module.__name__.rpartition('.')[2]]}"
        text = f"{module.__name__} has moved to {new}, and its old path ends with version 0.3; import from akkordeon"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        moved = import_module(new)
        vars(module).update({name: value for name, value in vars(moved).items() if not name.startswith("__")})


sys.meta_path.append(_MovedModules())
