"""Weight prediction: a batch runs forward with the weights expected at the return of its gradient.

Linear: Kosson et al., MLSys 2021, arXiv 2003.11666 (LWP^v and LWP^w), and Guan et al., "XPipe" and "PipeOptim",
arXiv 1911.04610 and 2312.00839, for other optimizers than SGD. Decaying: Hakimi et al., "Taming Momentum in a
Distributed Asynchronous Environment" (DANA), arXiv 1907.11612.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from typing_extensions import override

from akkordeon.staleness.compensation import Compensation, Compensator, publish, require
from akkordeon.staleness.optimizers import Groups, adam_roots, pick, put_back, refuse_adam, refuse_sgd

Form = Literal["linear", "decaying", "last step"]


@publish("linear", "scale")
@publish("decaying", "scale", form="decaying")
@publish("last-step", "scale", form="last step")
@dataclass(frozen=True)
class WeightPrediction(Compensation):
    """Weights for the forward: those expected when the gradient comes back.

    Linear: Kosson et al., MLSys 2021, arXiv 2003.11666; decaying: Hakimi et al., arXiv 1907.11612. From the live
    weights w and the expected staleness τ, the predicted weights û are::

        linear:     û = w - η τ v                                beside SGD with momentum buffer v
                    û = w - η τ M̂ / (sqrt(Ŝ) + ε)                beside Adam
                    û = (1 - η λ τ) w - η τ M̂ / (sqrt(Ŝ) + ε)    beside AdamW, of weight decay λ
        decaying:   û = w - η v (m - m^{τ+1}) / (1 - m)          beside SGD, as if no gradient came meanwhile
                    û = w - η Σ_{i=1..τ} β1^i M / ((1 - β1^{t+i}) (sqrt(Ŝ) + ε))       beside Adam or AdamW
        last step:  û = w + τ (w_t - w_{t-1})                    beside any optimizer; keeps another copy of the weights

    τ is the number of batches that the gate has forwarded and whose gradients have not come back: the staleness to
    come if gradients return in order and each makes an update; with `accumulate` it is divided by that number.
    Validation and test use the live weights. The learning rate is assumed to be constant for τ updates. Before the
    first update, and at staleness 0, nothing is predicted.

    Composes with `SpikeCompensation`, as Kosson et al. recommend.

    Args:
        form: of the prediction.
        scale: factor of τ.

    Raises:
        ValueError: a value is out of range.
    """

    form: Form = "linear"
    scale: float = 1.0

    once = True

    def __post_init__(self) -> None:
        require(self.form in get_args(Form), f"form must be one of {', '.join(get_args(Form))}, not {self.form!r}")
        require(self.scale > 0, f"scale must be more than 0, not {self.scale}")

    @property
    @override
    def kind(self) -> str:
        return f"WeightPrediction, {self.form}"

    @override
    def refusal(self, optimizer: Optimizer) -> str | None:
        if self.form == "last step":
            return None
        if isinstance(optimizer, Adam):
            return refuse_adam(optimizer)
        if isinstance(optimizer, SGD):
            return refuse_sgd(optimizer)
        return f"it can predict SGD, Adam and AdamW, not {type(optimizer).__name__}; use WeightPrediction('last step')"

    @override
    def start(self, parameters: Sequence[Tensor], optimizer: Optimizer) -> Compensator:
        if self.form == "last step":
            return _LastStep(parameters, self.scale)
        kind = _PredictionFromMean if isinstance(optimizer, Adam) else _PredictionFromSum
        return kind(Groups(parameters, optimizer), self.scale, decays=self.form == "decaying")


class _PredictionFromSum(Compensator):
    state = "momentum_buffer"

    def __init__(self, groups: Groups, scale: float, *, decays: bool) -> None:
        self._groups = groups
        self._scale = scale
        self._decays = decays

    @torch.no_grad()
    def predict(self, staleness: int) -> list[Tensor] | None:
        if staleness == 0:
            return None
        predicted = list(self._groups.parameters)
        for group, members in self._groups.having(state=self.state):
            predicted = put_back(predicted, members, self._ahead(group, members, staleness))
        return predicted

    def _ahead(self, group: dict[str, Any], members: list[int], staleness: int) -> Sequence[Tensor]:
        m, far = group["momentum"], staleness * self._scale
        steps = (m - m ** (far + 1)) / (1 - m) if self._decays else far
        now, velocity = pick(self._groups.parameters, members), self._groups.states(self.state, members)
        return torch._foreach_sub(now, velocity, alpha=float(group["lr"]) * steps)


class _PredictionFromMean(_PredictionFromSum):
    state = "exp_avg"

    @override
    def _ahead(self, group: dict[str, Any], members: list[int], staleness: int) -> Sequence[Tensor]:
        roots, unbias = adam_roots(self._groups, group, members)
        lr, now = float(group["lr"]), pick(self._groups.parameters, members)
        steps = [float(step) for step in self._groups.states("step", members)]
        far = [-lr * b * self._far(group["betas"][0], t, staleness) for b, t in zip(unbias, steps, strict=True)]
        if not self._decays and group["weight_decay"]:
            now = list(torch._foreach_mul(now, 1 - lr * group["weight_decay"] * staleness * self._scale))
        return torch._foreach_addcdiv(now, self._groups.states(self.state, members), roots, far)

    def _far(self, beta: float, step: float, staleness: int) -> float:
        """Return the factor of M: τ / (1 - β1^t), or Σ β1^i / (1 - β1^{t+i}) where it decays."""
        far = staleness * self._scale
        if not self._decays:
            return float(far / (1 - beta**step))
        return float(sum(beta**i / (1 - beta ** (step + i)) for i in range(1, round(far) + 1)))


class _LastStep(Compensator):
    def __init__(self, parameters: Sequence[Tensor], scale: float) -> None:
        self._parameters = parameters
        self._scale = scale
        self._before = [parameter.detach().clone() for parameter in parameters]
        self._moved: list[Tensor] | None = None

    @torch.no_grad()
    def notice(self, staleness: float) -> None:  # noqa: ARG002
        self._moved = list(torch._foreach_sub(list(self._parameters), self._before))
        torch._foreach_copy_(self._before, list(self._parameters))

    @torch.no_grad()
    def predict(self, staleness: int) -> list[Tensor] | None:
        if staleness == 0 or self._moved is None:
            return None
        return list(torch._foreach_add(list(self._parameters), self._moved, alpha=staleness * self._scale))

    def state_dict(self) -> dict[str, Any]:
        return {"before": self._before, "moved": self._moved or []}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        torch._foreach_copy_(self._before, state["before"])
        self._moved = [each.clone() for each in state["moved"]] or None
