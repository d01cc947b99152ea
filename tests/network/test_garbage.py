"""What a batch leaves behind is freed at once, not when Python next looks for cycles: activations are large."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.checkpoint import checkpoint

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.engines import Stepped, Threads

FIRST, LAST = 20, 40
"""The batches between which garbage is gathered."""


class Checkpointed(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(super().forward, x, use_reentrant=False)  # type: ignore[no-any-return]


class Counting(nn.Linear):
    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return super().forward(x)


class Garbage:
    """Counts its calls; gathers between two of them what only the collector finds.

    Attributes:
        found: the types of it that are tensors or ours, since torch's checkpoints leave functions; None before the
            second call.
    """

    def __init__(self) -> None:
        self._calls = 0
        self.found: set[str] | None = None

    def __call__(self, *_: Any) -> float:
        self._calls += 1
        if self._calls == FIRST:
            gc.collect()
            gc.disable()
        elif self._calls == LAST:
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            self.found = {str(type(each)) for each in gc.garbage if isinstance(each, Tensor) or _is_ours(each)}
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        return 0.0


def _is_ours(thing: object) -> bool:
    return type(thing).__module__.startswith("akkordeon")


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    yield Garbage()
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.fixture(params=[partial(Threads, 2), partial(Stepped, seed=1)], ids=["threads", "stepped"])
def network(request: pytest.FixtureRequest) -> Iterator[Callable[..., ak.Network]]:
    """Start a network whose two gates have these settings; the second has this module."""
    engine: Engine = request.param()  # without debug mode, which keeps messages in order to compare them later

    def launch(module: nn.Module, **settings: Any) -> ak.Network:
        gates = [("body", nn.Sequential(nn.Linear(8, 8), nn.Tanh())), ("head", module)]
        supervision = ak.Supervision(copy_every=10**9)  # copies take turns of their own
        return ak.launch(
            [ak.Gate(name, each, partial(SGD, lr=0.1, momentum=0.9), **settings) for name, each in gates],
            engine=engine,
            supervision=supervision,
        )

    yield launch
    engine.close()


def batches(amount: int = LAST) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(4, 8), torch.randint(0, 3, (4,))) for _ in range(amount)]


WAYS: dict[str, tuple[Callable[[int, int], nn.Module], dict[str, Any]]] = {
    "stashed": (nn.Linear, {}),
    "recomputed": (nn.Linear, {"activations": "recomputed"}),
    "one-at-a-time": (nn.Linear, {"computations": 1}),
    "two-at-once": (nn.Linear, {"computations": 2}),
    "checkpointed": (Checkpointed, {}),
    "with-state": (Counting, {}),
    "accumulated-and-clipped": (nn.Linear, {"accumulate": 2, "max_norm": 1.0}),
    "predicted": (nn.Linear, {"compensation": [ak.WeightPrediction()]}),
}


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("way", WAYS)
def test_training_leaves_nothing_to_the_collector(
    network: Callable[..., ak.Network], garbage: Garbage, way: str, in_flight: int
) -> None:
    make, settings = WAYS[way]
    metrics = {"garbage": garbage}
    with network(make(8, 3), **settings) as running:
        running.attach(
            ak.TrainingSentinel("train", batches, cross_entropy, metrics=metrics, in_flight=in_flight, epochs=1)
        )
        list(running.watch())
    assert garbage.found == set()


@pytest.mark.parametrize("make", [nn.Linear, Checkpointed, Counting])
def test_evaluation_leaves_nothing_to_the_collector(
    network: Callable[..., ak.Network], garbage: Garbage, make: Callable[[int, int], nn.Module]
) -> None:
    with network(make(8, 3)) as running:
        running.attach(ak.TestSentinel("test", batches, cross_entropy, metrics={"garbage": garbage}, in_flight=4))
        list(running.watch())
    assert garbage.found == set()
