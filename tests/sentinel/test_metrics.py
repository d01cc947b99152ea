"""Figures of merit, and means over samples rather than batches."""

import math

import pytest
import torch

from akkordeon.sentinel.metrics import Mean, accuracy


def test_accuracy_is_the_share_of_samples_whose_largest_output_is_the_targets() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 5.0], [3.0, 2.0, 1.0]])
    assert accuracy(scores, torch.tensor([1, 0, 2, 2])).item() == 0.75


def test_accuracy_counts_every_position_of_a_text() -> None:
    target = torch.tensor([[0, 1, 2, 2], [2, 1, 0, 0]])
    scores = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    assert scores.shape == (2, 3, 4)
    assert accuracy(scores, target).item() == 1.0
    target[1, 3] = 1
    assert accuracy(scores, target).item() == 0.875


def test_a_mean_weighs_each_value() -> None:
    mean = Mean()
    mean.add(1.0, 64)
    mean.add(5.0, 16)
    assert mean.value == pytest.approx((64 * 1.0 + 16 * 5.0) / 80)
    assert mean.weight == 80


def test_a_mean_counts_each_value_once_unless_told_otherwise() -> None:
    mean = Mean()
    for value in (1, 2, 6):
        mean.add(value)
    assert mean.value == 3.0


def test_a_mean_of_nothing_is_not_a_number() -> None:
    assert math.isnan(Mean().value)
