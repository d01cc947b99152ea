"""Gives a setting of an optimizer, such as `lr`, another value while it trains; schedules are rescaled."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

RATES = ("lr", "initial_lr", "max_lr", "min_lr")
"""What schedulers keep in a group of parameters besides its rate, in proportion to it."""


def tune(optimizer: Optimizer, scheduler: LRScheduler | None, name: str, value: float) -> None:
    """Give a setting of an optimizer another value, in all groups of parameters.

    A schedule goes on from there: the rates that it starts from are multiplied by as much as the present rate is; or,
    where the present rate is 0, they become the value. Bounds that are no share of a rate, such as `eta_min`, stay.
    """
    groups = optimizer.param_groups
    factors = [value / float(group["lr"]) if name == "lr" and group["lr"] else None for group in groups]
    for group, factor in zip(groups, factors, strict=True):
        if name != "lr" or scheduler is None:
            _put(group, name, value)
            continue
        for rate in RATES:
            if rate in group:
                _put(group, rate, value if rate == "lr" else _scaled(group[rate], factor, value))
    if scheduler is not None and name == "lr":
        _rescale(scheduler, factors, value)


def _rescale(scheduler: LRScheduler, factors: Sequence[float | None], value: float) -> None:
    for part in getattr(scheduler, "_schedulers", ()):  # of one that is made of several
        _rescale(part, factors, value)
    for rates in ("base_lrs", "max_lrs"):
        if hasattr(scheduler, rates):
            before = getattr(scheduler, rates)
            scaled = [_scaled(rate, factor, value) for rate, factor in zip(before, factors, strict=True)]
            setattr(scheduler, rates, scaled)
    scheduler._last_lr = [value] * len(factors)


def _scaled(rate: Any, factor: float | None, value: float) -> Any:
    return rate * factor if factor is not None and float(rate) else value


def _put(group: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(group[name], Tensor):  # of an optimizer that runs on a device as one graph, which looks here
        group[name].fill_(value)
    else:
        group[name] = value
