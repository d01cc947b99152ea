"""What is said about a loss that is not finite: whose fault it is, and what to do."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from akkordeon.sentinel.diagnosis import diagnosis

X, Y = torch.randn(4, 3), torch.randn(4, 2)
NAN = torch.full((4, 3), math.nan)
WORDS = torch.zeros(4, 3, dtype=torch.int64)


@dataclass
class Holder:
    values: torch.Tensor


@pytest.mark.parametrize(
    ("x", "output", "target", "message"),
    [
        (X[:0], Y[:0], WORDS[:0], "the batch is empty: let the loader leave it out"),
        ({"words": WORDS[:0], "n": 1}, Y[:0], None, "the batch is empty"),
        (NAN, NAN, Y, "its input holds NaN or infinity: check what the loader yields"),
        ((WORDS, X / 0), NAN, Y, "its input holds NaN or infinity"),
        (X, Y, NAN, "its input is finite, and its target holds NaN or infinity: check what the loader yields"),
        (X, Y, {"w": [NAN]}, "its target holds NaN or infinity"),
        (X, Y, np.array([1.0, math.inf]), "its target holds NaN or infinity"),
        (X, NAN, WORDS, "the network has diverged: lower the learning rate, or clip the gradients"),
        (X, Y * 1e30, X, "the network has diverged"),
        (WORDS, (NAN, Y), None, "the network has diverged"),
        (X, Y, torch.full((4,), -100), "the loss is the cause: all its targets are -100; if it ignores these"),
        (X, Y, {"labels": torch.zeros(4, 9, dtype=torch.int32)}, "all its targets are 0; if it ignores these"),
        (X, Y, (torch.zeros(4, dtype=torch.bool), X), "all its targets are False; if it ignores these"),
        (X, Y, np.full(4, -1), "all its targets are -1; if it ignores these"),
        (X, Y, torch.tensor([0, 1, 1, 0]), "look for a mean over nothing, a division by zero"),
        (X, Y, X, "its input, output and target are finite, so the loss is the cause: look for"),
        (X, Y, "no tensor", "so the loss is the cause: look for"),
        (X, torch.randn(3, dtype=torch.complex64), None, "so the loss is the cause: look for"),
        (X, torch.tensor([1, 2]), Holder(Y), "so the loss is the cause: look for"),
    ],
)
def test_a_diagnosis_names_what_is_to_blame(x: Any, output: Any, target: Any, message: str) -> None:
    assert message in diagnosis(x, output, target)
