"""Tasks: modules, batches, and evaluation."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from akkordeon.datasets import fashion_mnist, mnist
from akkordeon.recipes import char_gpt

Batch = tuple[Tensor, Tensor]
Modules = list[nn.Module]

HELD_OUT = 5000
"""Samples at the end of the training data that learning rates are chosen on."""


@dataclass(frozen=True)
class Task:
    """A task to learn.

    Args:
        name: in tables.
        modules: makes the modules of the gates; torch is seeded before.
        train: yields batches of training without an end, given a seed.
        held_out: batches that learning rates are chosen on.
        test: batches for the final figures.
    """

    name: str
    modules: Callable[[], Modules]
    train: Callable[[int], Iterator[Batch]]
    held_out: Callable[[], Sequence[Batch]]
    test: Callable[[], Sequence[Batch]]


class Stream:
    """A loader whose epochs continue where the last one stopped.

    Args:
        batches: without an end.
        length: of an epoch.
    """

    def __init__(self, batches: Iterator[Batch], length: int) -> None:
        self._batches = batches
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        return itertools.islice(self._batches, self._length)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch]) -> tuple[float, float]:
    """Return mean loss and accuracy of a model."""
    model.eval()
    loss = correct = samples = 0.0
    for x, target in batches:
        output = model(x)
        loss += float(cross_entropy(output, target)) * target.numel()
        correct += float((output.argmax(1) == target).sum())
        samples += target.numel()
    return loss / samples, correct / samples


# Images


@cache
def _images(name: str, split: str) -> Batch:
    """All images of a split, (N, 1, 28, 28) of mean 0 and deviation 1, and their labels."""
    data = {"mnist": mnist, "fashion": fashion_mnist}[name](split)
    x, target = data.batch(torch.arange(len(data)))
    return ((x - x.mean()) / x.std()).unsqueeze(1), target


def _image_task(name: str, data: str, modules: Callable[[], Modules], batch: int) -> Task:
    def train(seed: int) -> Iterator[Batch]:
        x, target = _images(data, "train")
        rows = len(x) - HELD_OUT
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(rows, generator=generator)
            for start in range(0, rows - batch + 1, batch):
                index = order[start : start + batch]
                yield x[index], target[index]

    def held_out() -> Sequence[Batch]:
        x, target = _images(data, "train")
        return _in_batches(x[-HELD_OUT:], target[-HELD_OUT:])

    return Task(name, modules, train, held_out, lambda: _in_batches(*_images(data, "test")))


def _in_batches(x: Tensor, target: Tensor, size: int = 1000) -> Sequence[Batch]:
    return [(x[start : start + size], target[start : start + size]) for start in range(0, len(x), size)]


def seed_network() -> Modules:
    """784-50-20-10, in three gates."""
    return [
        nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU()),
        nn.Sequential(nn.Linear(50, 20), nn.ReLU()),
        nn.Linear(20, 10),
    ]


def perceptron(hidden: int) -> Callable[[], Modules]:
    """Return a function that makes a perceptron with hidden layers of 256, in one gate."""

    def modules() -> Modules:
        sizes = [784, *([256] * hidden)]
        layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        return [nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], 10))]

    return modules


def deep() -> Modules:
    """Eight layers of 64 with group norm, in eight gates."""
    sizes = [784, *([64] * 7)]
    hidden = [nn.Sequential(nn.Linear(a, b), nn.GroupNorm(8, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
    return [nn.Sequential(nn.Flatten(), *hidden[0]), *hidden[1:], nn.Linear(64, 10)]


def small_convolution() -> Modules:
    """Two convolutions and a linear layer, in one gate."""
    return [
        nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 6 * 6, 10),
        )
    ]


def gem_convolution() -> Modules:
    """The network of Hermans and Louppe, in one gate."""
    return [
        nn.Sequential(
            nn.Conv2d(1, 10, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(10, 20, 5),
            nn.Dropout2d(),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(320, 300),
            nn.ReLU(),
            nn.Linear(300, 200),
            nn.ReLU(),
            nn.Linear(200, 10),
        )
    ]


# Text


def _text_task() -> Task:
    def modules() -> Modules:
        return [gate.module for gate in char_gpt.gates()]

    def train(seed: int) -> Iterator[Batch]:
        loader = char_gpt.batches("train", seed=seed, folder=_folder())
        while True:
            yield from loader

    @cache
    def some(split: str, first: int) -> Sequence[Batch]:
        every = list(char_gpt.batches(split, folder=_folder()))
        return every[first::8]

    return Task("characters, GPT of 8 gates", modules, train, lambda: some("validate", 0), lambda: some("validate", 4))


where: list[Path | None] = []
"""Holds the folder of the text, if the user has named one."""


def _folder() -> Path | None:
    return where[-1] if where else None


TASKS = {
    "mnist": _image_task("MNIST, 784-50-20-10", "mnist", seed_network, 64),
    "mnist-1024": _image_task("MNIST, 784-50-20-10", "mnist", seed_network, 1024),
    "deep": _image_task("Fashion-MNIST, 8 layers of 64", "fashion", deep, 8),
    "gem": _image_task("Fashion-MNIST, CNN of Hermans and Louppe", "fashion", gem_convolution, 64),
    "cnn": _image_task("Fashion-MNIST, small CNN", "fashion", small_convolution, 128),
    "text": _text_task(),
    **{
        f"mlp{hidden}": _image_task(f"Fashion-MNIST, {hidden} hidden of 256", "fashion", perceptron(hidden), 64)
        for hidden in (1, 2, 4)
    },
}
