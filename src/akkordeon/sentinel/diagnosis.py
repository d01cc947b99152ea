"""Says why the loss of a batch is not finite: because of the data, of the network, or of the loss itself."""

from typing import Any

from torch import Tensor

from akkordeon.tensors import all_finite, parts_in

HUGE = 1e10
"""Where an output is larger, a loss of float32 that squares it may overflow."""

LEAVE_OUT = "let the loader leave such batches out, or let the loss return output.sum() * 0"
"""What to do about batches without a target."""


def diagnosis(x: Any, output: Any, target: Any) -> str:
    """Return the cause of a loss that is not finite, and what to do about it.

    Args:
        x: of the batch.
        output: of the network.
        target: of the batch.
    """
    inputs, outputs, targets = (list(parts_in(each)) for each in (x, output, target))
    if not all(leaf.numel() for leaf in (*inputs[:1], *outputs[:1])):
        return "the batch is empty: let the loader leave it out"
    if not _finite(inputs):
        return "its input holds NaN or infinity: check what the loader yields"
    if not _finite(targets):
        return "its input is finite, and its target holds NaN or infinity: check what the loader yields"
    if not _finite(outputs) or any((leaf.abs() > HUGE).any() for leaf in outputs):
        return "its input is finite, so the network has diverged: lower the learning rate, or clip the gradients"
    cause = "its input, output and target are finite, so the loss is the cause"
    same = [leaf for leaf in targets if not _has_fractions(leaf) and leaf.numel() and (leaf == leaf.ravel()[0]).all()]
    if same:
        value = same[0].ravel()[0].item()
        return f"{cause}: all its targets are {value}; if it ignores these, it is a mean over nothing: {LEAVE_OUT}"
    return f"{cause}: look for a mean over nothing, a division by zero, a logarithm or root of zero"


def _has_fractions(leaf: Tensor) -> bool:
    return leaf.is_floating_point() or leaf.is_complex()


def _finite(leaves: list[Tensor]) -> bool:
    return all_finite(leaf for leaf in leaves if _has_fractions(leaf))
