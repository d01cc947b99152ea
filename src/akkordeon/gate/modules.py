"""Adds modules that torch does not have: `DropConnect`, and `Standardize` for the recipes."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils import parametrize


class Standardize(nn.Module):
    """Shifts and scales numbers, such as pixels, to mean 0 and deviation 1; has nothing to train.

    Args:
        mean: of the numbers, over the training set.
        deviation: theirs, likewise.
    """

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self._mean = mean
        self._deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        """Take and return any shape."""
        return (x - self._mean) / self._deviation


class DropConnect(nn.Module):
    """Drops *weights* of a module at random in training, and none in evaluation.

    Each weight is zeroed with probability `p` in each forward, the others are scaled by 1/(1-p), so the expected
    weight is the weight. (Dropout zeroes activations instead.) Wan et al., "Regularization of Neural Networks using
    DropConnect", ICML 2013, equations 4-5; in evaluation the mean weights are used in place of the paper's sampling.

    Args:
        module: any module with that parameter, such as `nn.Linear(784, 50)`; none of torch's RNNs, which read their
            weights an unknown number of times per forward, and would draw a mask each time.
        p: probability of dropping a weight, in [0, 1).
        name: which of the module's parameters.

    Raises:
        ValueError: p is out of range, the module has no parameter of that name, or is an RNN.
    """

    def __init__(self, module: nn.Module, p: float = 0.5, *, name: str = "weight") -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be at least 0 and less than 1, not {p}")
        if isinstance(module, nn.RNNBase):
            raise ValueError(f"DropConnect cannot mask the weights of {type(module).__name__}; wrap its input instead")
        names = [own for own, _ in module.named_parameters(recurse=False)]
        if name not in names:
            there = ", ".join(names) or "none"
            raise ValueError(f"{type(module).__name__} has no parameter {name!r}; it has: {there}")
        self.module = module
        parametrize.register_parametrization(module, name, _Mask(p))

    def forward(self, x: Any) -> Any:
        """Run the module with masked weights (in training) or its own (in evaluation)."""
        return self.module(x)


class _Mask(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, weight: Tensor) -> Tensor:
        return dropout(weight, self.p, training=self.training)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight
