"""A person who looks at a running network is told what is wrong with it: on the page, and in the terminal."""

import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.cli.live import Story, draw
from akkordeon.engines import Threads
from akkordeon.network.paging import Feed
from akkordeon.views import diagnosis
from akkordeon.views.frames import Frames
from tests.waiting import wait_until

SOON = 45.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with a second ago, so that no test takes longer."""
    monkeypatch.setattr(diagnosis, "COMPARED", 1.0)
    monkeypatch.setattr("akkordeon.network.recording.SAMPLE_EVERY", 0.1)
    monkeypatch.setattr("akkordeon.views.frames.WIDTH", 0.1)


class Pausing(nn.Module):
    """A linear layer that takes some time, which can be changed."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.pause = Pause(seconds)

    def forward(self, x: Tensor) -> Tensor:
        self.pause()
        return torch.as_tensor(self.linear(x))


class Pause:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __deepcopy__(self, memo: object) -> "Pause":
        return self  # replicas share it

    def __call__(self) -> None:
        threading.Event().wait(self.seconds)


def gate(name: str, module: nn.Module) -> ak.Gate:
    return ak.Gate(name, module, partial(SGD, lr=0.001))


def data() -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield torch.ones(2, 4), torch.ones(2, 4)


def is_told(
    gates: list[ak.Gate],
    sentinel: ak.TrainingSentinel,
    wanted: str,
    after: Callable[[ak.Network], object] = lambda _: None,
) -> None:
    """Train until page and terminal say what is wrong; `after` is called when they have something to compare."""
    frames, story, terminal = Frames(), Story(), io.StringIO()
    console = Console(file=terminal, width=200, force_terminal=True, color_system=None)
    with ak.launch(gates, engine=Threads(3), sinks=[Feed(frames)], supervision=ak.Supervision(lease=1.0)) as network:
        network.attach(sentinel)
        wait_until(lambda: len(frames.all()["frames"]) > 20, SOON, "some frames")
        after(network)

        def on_the_page() -> bool:
            return any(wanted in text for frame in frames.all()["frames"] for text in frame["words"])

        def in_the_terminal() -> bool:
            status = network.status()
            story.see(status, network.engine.now())
            console.print(draw(status, story))
            return wanted in terminal.getvalue()

        seen: dict[str, bool] = {"page": False, "terminal": False}

        def both() -> bool:
            seen["terminal"] = in_the_terminal() or seen["terminal"]
            seen["page"] = on_the_page() or seen["page"]
            return all(seen.values())

        wait_until(both, SOON, f"{wanted!r} on page and terminal, and not only {seen}")


def training(loader: Any = data, loss: Any = mse_loss) -> ak.TrainingSentinel:
    return ak.TrainingSentinel("train", loader, loss, in_flight=6)


def test_a_slow_gate() -> None:
    gates = [gate("quick", Pausing(0.001)), gate("slow", Pausing(0.02)), gate("last", Pausing(0.001))]
    is_told(gates, training(), "gate 'slow' is the bottleneck: it computes")


def test_a_burst_of_staleness() -> None:
    gates = [gate("first", Pausing(0.002)), gate("last", Pausing(0.002))]
    sentinel = ak.TrainingSentinel("train", data, mse_loss, in_flight=1)
    is_told(gates, sentinel, "the gradients of gate 'first' are stale", lambda net: net.set("train", in_flight=12))


def test_a_gate_that_dies() -> None:
    class Dies(SGD):
        steps = 0

        def step(self, closure: Any = None) -> Any:
            Dies.steps += 1
            if Dies.steps == dies_at[0]:
                raise RuntimeError("it broke")
            return super().step(closure)

    dies_at = [-1]
    gates = [gate("first", Pausing(0.002)), ak.Gate("dies", Pausing(0.002), partial(Dies, lr=0.001))]

    def die(_: ak.Network) -> None:
        dies_at[0] = Dies.steps + 5

    is_told(gates, training(), "gate 'dies' died and was restarted", after=die)


def test_a_sentinel_that_leaks() -> None:
    kept: list[Tensor] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        kept.append(torch.ones(300_000))  # and never lets go
        return mse_loss(output, target)

    is_told([gate("only", Pausing(0.001))], training(loss=loss), "leaks memory: it grows by")


def test_a_loader_that_starves() -> None:
    pause = Pause(0.05)

    def slowly() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in data():
            pause()
            yield batch

    is_told([gate("only", Pausing())], training(slowly), "the loader of sentinel 'train' starves the network")
