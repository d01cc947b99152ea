"""NAdamW with large momentum, which looks ahead in the direction of stale gradients.

Ajanthan et al., "Nesterov Method for Asynchronous Pipeline Parallel Optimization", ICML 2025, arXiv 2505.01099.
"""

from collections.abc import Iterable

from torch import Tensor
from torch.optim import NAdam

PSI, PUBLISHED_UPDATES = 0.004, 50_000
"""As published: the rate at which the momentum rises, and the number of updates."""


def nadamw(
    parameters: Iterable[Tensor],
    lr: float = 3e-4,
    *,
    momentum: float = 0.99,
    weight_decay: float = 0.01,
    updates: int | None = None,
) -> NAdam:
    """Return torch's NAdam with decoupled weight decay and β1 = 0.99: a base optimizer for stale gradients.

    Ajanthan et al., ICML 2025, arXiv 2505.01099. Its momentum rises as μ_t = β1 (1 - 0.5 · 0.96^{tψ}), with ψ = 0.004:
    after 2,000 updates it is 0.63, and after 14,000 within 5 % of β1. A short run with the published ψ is a different
    optimizer, which follows fresh gradients more. With `updates`, ψ is 0.004 · 50,000 / updates: the momentum rises
    over the run as it did in the paper.

    Args:
        parameters: to optimize.
        lr: learning rate; 3e-4 as published, after a warm-up of 3,000 updates, then down to a tenth along a cosine.
        momentum: β1.
        weight_decay: decoupled.
        updates: planned number for the gate; None keeps the published ψ.
    """
    psi = PSI if updates is None else PSI * PUBLISHED_UPDATES / updates
    settings = {"momentum_decay": psi, "weight_decay": weight_decay, "decoupled_weight_decay": True}
    return NAdam(parameters, lr=lr, betas=(momentum, 0.999), **settings)  # type: ignore[arg-type]
