"""What can be wrong with a sentinel, what is said about it, and whether it ends."""

import math
from typing import Any

import pytest
from torch import nn
from torch.nn.functional import cross_entropy

from akkordeon import TestSentinel, TrainingSentinel, ValidationSentinel, WiringError
from akkordeon.sentinel.description import Sentinel
from tests.networks import data

KINDS = [TrainingSentinel, ValidationSentinel, TestSentinel]


def make(kind: type[Sentinel], **settings: Any) -> Sentinel:
    values: dict[str, Any] = {"name": "one", "data": data(), "loss": cross_entropy}
    return kind(**(values | settings))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, r"the name of a sentinel must be a word, not ''"),
        ({"name": "  "}, r"the name of a sentinel must be a word, not '  '"),
        ({"name": None}, r"the name of a sentinel must be a word, not None"),
        ({"data": [1, 2]}, r"KIND 'one': data must be a callable .*, not a list; wrap it, as in data=lambda: loader"),
        ({"loss": "mse"}, r"KIND 'one': loss must be a callable of output and target, not 'mse'"),
        ({"loss": nn.Linear(2, 1)}, r"KIND 'one': its loss has trainable parameters.*put them into a gate"),
        (
            {"metrics": {"f1": 0.5}},
            r"KIND 'one': metric 'f1' must be a callable .*, or an object with update.* not 0\.5",
        ),
        ({"in_flight": 0}, r"KIND 'one': in_flight must be more than 0, not 0"),
        ({"epochs": 0}, r"KIND 'one': epochs must be more than 0, not 0"),
        ({"epochs": -3}, r"KIND 'one': epochs must be more than 0, not -3"),
        ({"seconds": 0.0}, r"KIND 'one': seconds must be more than 0, not 0\.0"),
        ({"seconds": math.nan}, r"KIND 'one': seconds must be more than 0, not nan"),
        ({"time_limit": 0}, r"KIND 'one': time_limit must be more than 0, not 0"),
    ],
)
def test_a_sentinel_that_cannot_work_is_refused_by_name(
    kind: type[Sentinel], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(WiringError, match=message.replace("KIND", kind.__name__)):
        make(kind, **settings)


@pytest.mark.parametrize("kind", [TrainingSentinel, ValidationSentinel])
def test_training_and_validation_need_a_loss(kind: type[Sentinel]) -> None:
    with pytest.raises(WiringError, match=rf"{kind.__name__} 'one' needs a loss: a callable of output and target"):
        make(kind, loss=None)


def test_a_test_needs_no_loss() -> None:
    assert make(TestSentinel, loss=None).loss is None


def test_a_validation_must_wait_some_time_between_passes() -> None:
    with pytest.raises(WiringError, match="ValidationSentinel 'one': every must be more than 0, not 0"):
        make(ValidationSentinel, every=0)


@pytest.mark.parametrize("kind", [ValidationSentinel, TestSentinel])
def test_what_makes_one_pass_cannot_make_several(kind: type[Sentinel]) -> None:
    with pytest.raises(WiringError, match=rf"{kind.__name__} 'one' makes one pass, so epochs=3 cannot work"):
        make(kind, epochs=3)
    assert make(kind, epochs=1).last_epoch == 1


def test_a_loss_with_frozen_or_no_parameters_will_do() -> None:
    for loss in (nn.CrossEntropyLoss(), nn.Linear(2, 1).requires_grad_(False)):
        assert make(TrainingSentinel, loss=loss).loss is loss


@pytest.mark.parametrize(
    ("kind", "settings", "ends", "last_epoch"),
    [
        (TrainingSentinel, {}, False, None),
        (TrainingSentinel, {"epochs": 1}, True, 1),
        (TrainingSentinel, {"epochs": 4}, True, 4),
        (TrainingSentinel, {"seconds": 2.0}, True, None),
        (TrainingSentinel, {"until": bool}, True, None),
        (ValidationSentinel, {}, True, 1),
        (ValidationSentinel, {"every": 2.0}, False, None),
        (ValidationSentinel, {"every": 2.0, "epochs": 3}, True, 3),
        (ValidationSentinel, {"every": 2.0, "seconds": 9.0}, True, None),
        (ValidationSentinel, {"every": 2.0, "until": bool}, True, None),
        (TestSentinel, {}, True, 1),
    ],
)
def test_whether_a_sentinel_ends_by_itself(
    kind: type[Sentinel], settings: dict[str, Any], ends: bool, last_epoch: int | None
) -> None:
    sentinel = make(kind, **settings)
    assert sentinel.ends is ends
    assert sentinel.last_epoch == last_epoch


def test_a_sentinel_is_described_by_position_as_the_readme_does() -> None:
    sentinel = TrainingSentinel("train", data(), cross_entropy, {}, in_flight=5, epochs=10)
    assert (sentinel.name, sentinel.in_flight, sentinel.epochs, sentinel.kind) == ("train", 5, 10, "train")
