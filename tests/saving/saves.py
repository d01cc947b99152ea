"""What the tests of saved networks share: networks that have trained a little, and manifests changed by hand."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import SGD

from akkordeon import Gate, Network, launch
from akkordeon.engines import Stepped
from akkordeon.saving import Saved, read
from akkordeon.saving.layout import MANIFEST, seal
from tests.networks import stepped, training

momentum = partial(SGD, lr=0.1, momentum=0.9)


def normed(seed: int = 0, **settings: Any) -> list[Gate]:
    """Gates with buffers, dropout and an optimizer that keeps tensors."""
    torch.manual_seed(seed)
    return [
        Gate("stem", nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU()), momentum, **settings),
        Gate("body", nn.Sequential(nn.Dropout(0.1), nn.Linear(6, 5), nn.Tanh()), momentum, **settings),
        Gate("head", nn.Linear(5, 3), momentum, **settings),
    ]


def engine_of(network: Network) -> Stepped:
    engine = network.engine
    assert isinstance(engine, Stepped)
    return engine


def done(network: Network, sentinel: str = "train") -> int:
    """Batches that came back."""
    return {each.name: each.done for each in network.status().sentinels}.get(sentinel, 0)


def run_until(network: Network, batches: int, sentinel: str = "train") -> None:
    """Let a network on the stepped engine train so many batches, or a little more."""
    engine = engine_of(network)
    while (missing := batches - done(network, sentinel)) > 0:
        before = engine.time
        engine.run(seconds=0.002 * missing)
        assert engine.time > before, "the network stands still"


def train_and_save(
    folder: Path, gates: Callable[..., Sequence[Gate]] = normed, *, batches: int = 6, saves: int = 1, **settings: Any
) -> Path:
    """Train, save so many times, and return the last version; whoever trains is called "train"."""
    with launch(gates(), engine=stepped()) as network:
        network.attach(training(**settings))
        for number in range(saves):
            run_until(network, batches * (number + 1))
            version = network.save(folder)
    return version


def manifest_of(version: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((version / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def reseal(version: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest, and seal it again, so that only what it says can be wrong with it."""
    manifest = manifest_of(version)
    del manifest["sha256"]
    change(manifest)
    manifest["sha256"] = seal(manifest)
    (version / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def same_weights(one: Saved, other: Saved) -> bool:
    before, after = one.weights, other.weights
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def can_be_resumed(folder: Path, gates: Callable[..., Sequence[Gate]] = normed) -> Saved:
    """Read what is saved, and check that a network goes on from there."""
    saved = read(folder)
    with launch(gates(), engine=stepped(), resume=folder) as network:
        assert [gate.version for gate in network.status().gates] == [gate.version for gate in saved.gates]
        network.attach(training(epochs=1 + max(position.epoch for position in saved.positions.values())))
        assert list(network.watch())
    return saved
