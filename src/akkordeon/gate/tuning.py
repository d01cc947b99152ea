"""Changes a setting of an optimizer, such as `lr`, while it trains, and rescales its schedule."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from akkordeon.tensors import parts_of, set_last_rates

RATES_OF_SCHEDULES = ("initial_lr", "max_lr", "min_lr")
"""What schedulers keep in a group of parameters, in proportion to its learning rate."""


def tune(optimizer: Optimizer, scheduler: LRScheduler | None, name: str, value: float) -> None:
    """Give a setting of an optimizer another value, in all groups of parameters.

    A schedule goes on from there: the rates it was made with are multiplied by the same factor as the present rate; or,
    where the present rate is 0, they become the value. Bounds that do not scale with a rate, such as `eta_min`, stay.

    Args:
        optimizer: has the setting in each of its groups.
        scheduler: of the optimizer; None if it has none.
        name: of the setting.
        value: to be had from now on.
    """
    groups = optimizer.param_groups
    factors = [value / float(group["lr"]) if name == "lr" and group["lr"] else None for group in groups]
    for group, factor in zip(groups, factors, strict=True):
        _put(group, name, value)
        if name == "lr" and scheduler is not None:
            for rate in RATES_OF_SCHEDULES:
                if rate in group:
                    _put(group, rate, _scaled(group[rate], factor, value))
    if scheduler is not None and name == "lr":
        _rescale(scheduler, factors, value)


def _rescale(scheduler: LRScheduler, factors: Sequence[float | None], value: float) -> None:
    for part in parts_of(scheduler):
        _rescale(part, factors, value)
    for rates in ("base_lrs", "max_lrs"):
        if hasattr(scheduler, rates):
            before = getattr(scheduler, rates)
            scaled = [_scaled(rate, factor, value) for rate, factor in zip(before, factors, strict=True)]
            setattr(scheduler, rates, scaled)
    set_last_rates(scheduler, [value] * len(factors))


def _scaled(rate: Any, factor: float | None, value: float) -> Any:
    return rate * factor if factor is not None and float(rate) else value


def _put(group: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(group[name], Tensor):  # an optimizer that runs on a device as one graph reads this very tensor
        group[name].fill_(value)
    else:
        group[name] = value
