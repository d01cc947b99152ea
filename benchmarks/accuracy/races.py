"""Trains until a model reaches an accuracy on data that it is not trained with, and takes the time without evaluations.

The weights and the time are kept at the end of each quarter of an epoch. They are evaluated while the clock stands, at
the end of every second quarter. Batches are picked out of images in memory.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.datasets import Images, fashion_mnist, mnist
from benchmarks.common.loops import COMPUTATIONS, train
from benchmarks.common.models import MODELS, Batch
from benchmarks.staleness.tasks import Stream, evaluate

MOMENTUM = 0.9
HELD_OUT = 10_000
"""Samples at the end of the training data that judge settings; tuning does not see the test data."""

HOLD, QUARTERS = 2, 100
"""Quarters of an epoch after which the clock stops, and the most that a run has."""

HOPE, SLACK = 0.5, 0.6
"""A run is given up if its accuracy after an epoch is below `HOPE`; or, in tuning, below that of the best run so far
after this share of the time."""

Curve = list[tuple[float, float]]
"""Seconds, and the accuracy at that time."""


@dataclass(frozen=True)
class Goal:
    """A task, and the accuracy to reach.

    Args:
        title: in the table.
        images: of a split.
        shape: of one image, as the model takes it.
        modules: makes the modules of the gates.
        accuracy: to reach.
        target: for the speed to plain PyTorch at its best.
        batches: sizes to try.
        rates: learning rates to try with batches of 64; they grow with the square root of the batch size.
    """

    title: str
    images: Callable[[str], Images]
    shape: tuple[int, ...]
    modules: Callable[[], list[nn.Module]]
    accuracy: float
    target: float
    batches: tuple[int, ...]
    rates: tuple[float, ...]

    def part(self, split: str) -> Batch:
        """Return the images of a split, of mean 0 and deviation 1 over the training data, and their labels."""
        images, some = self.images(split), self.images("train").pixels[::100].float()
        x = images.pixels.float().sub_(some.mean()).div_(some.std())
        return x.view(-1, *self.shape), images.labels


@cache
def part(goal: str, split: str) -> Batch:
    """Return a part of the data of a goal; a process reads it once."""
    return GOALS[goal].part(split)


GOALS = {
    "mnist": Goal(
        "MNIST, 784-50-20-10, 97 %",
        mnist,
        (784,),
        MODELS["tiny-64"].modules,
        0.97,
        0.95,
        (64, 32, 128, 256, 512),
        (0.02, 0.01, 0.04, 0.005, 0.08),
    ),
    "fashion": Goal(
        "Fashion-MNIST, CNN, 88 %",
        fashion_mnist,
        (1, 28, 28),
        MODELS["cnn-64"].modules,
        0.88,
        1.0,
        (64, 32, 128),
        (0.02, 0.01, 0.04),
    ),
}


@dataclass(frozen=True)
class Race:
    """One training, in plain values.

    Args:
        goal: name of one.
        arm: the way to train.
        batch: size.
        lr: learning rate.
        seed: of weights and order.
        final: train with all of the training data, and evaluate on the test data.
    """

    goal: str
    arm: str
    batch: int
    lr: float
    seed: int
    final: bool = False


class Course:
    """The clock of a training, and the accuracy over time.

    Args:
        race: the training.
        model: to evaluate.
        ahead: the best course so far, if any.
    """

    def __init__(self, race: Race, model: nn.Module, ahead: "Course | None" = None) -> None:
        x, target = part(race.goal, "train")
        rows = len(x) if race.final else len(x) - HELD_OUT
        test_x, test_target = part(race.goal, "test") if race.final else (x[rows:], target[rows:])
        self.loader = Held(batches(x[:rows], target[:rows], race), rows // (4 * race.batch))
        self.curve: Curve = []
        self._wanted = GOALS[race.goal].accuracy
        self._model = model
        self._test = list(zip(torch.split(test_x, 1000), torch.split(test_target, 1000), strict=True))
        self._ahead = ahead
        self._kept: list[tuple[float, Mapping[str, Tensor]]] = []
        self._before = self._since = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def keep(self, weights: Mapping[str, Tensor]) -> bool:
        """Take the time of a quarter; return whether training is over, which costs no time on the clock."""
        now = self._before + time.perf_counter() - self._since
        self._kept.append((now, weights))
        if len(self._kept) < HOLD:
            return False
        for seconds, each in self._kept:
            self._model.load_state_dict(each)
            self.curve.append((seconds, evaluate(self._model, self._test)[1]))
        self._kept.clear()
        over = math.isfinite(self.seconds) or len(self.curve) >= QUARTERS or self._hopeless(now)
        self._before = now
        self.loader.go_on()
        self.begin()
        return over

    @property
    def seconds(self) -> float:
        """When it first reached the goal; infinite if it never did."""
        return next((seconds for seconds, found in self.curve if found >= self._wanted), math.inf)

    @property
    def epochs(self) -> float:
        """Epochs until it reached the goal; all of them if it never did."""
        return (1 + sum(seconds < self.seconds for seconds, _ in self.curve[:-1])) / 4

    def accuracy(self, seconds: float) -> float:
        """Return the best accuracy up to a time."""
        return max((found for then, found in self.curve if then <= seconds), default=0.0)

    def _hopeless(self, now: float) -> bool:
        if self._ahead is not None and (
            now > self._ahead.seconds or self.accuracy(now) < self._ahead.accuracy(SLACK * now)
        ):
            return True
        return len(self.curve) >= 4 and self.accuracy(now) < HOPE


class Held(Stream):
    """Batches of quarters of an epoch; after every second one they wait for `go_on`, as the clock does."""

    def __init__(self, batches: Iterator[Batch], length: int) -> None:
        super().__init__(batches, length)
        self._begun = 0
        self._may = threading.Semaphore(0)

    def __iter__(self) -> Iterator[Batch]:
        if self._begun and self._begun % HOLD == 0:
            self._may.acquire()
        self._begun += 1
        return super().__iter__()

    def go_on(self) -> None:
        """Let the next two quarters begin."""
        self._may.release()


def batches(x: Tensor, target: Tensor, race: Race) -> Iterator[Batch]:
    """Yield batches without an end, in a new order in each epoch."""
    generator = torch.Generator().manual_seed(race.seed)
    while True:
        order = torch.randperm(len(x), generator=generator)
        for index in torch.split(order[: len(x) // race.batch * race.batch], race.batch):
            yield x[index], target[index]


def plain(race: Race, ahead: Course | None, threads: int) -> Course:
    """Train in a plain loop."""
    torch.set_num_threads(threads)
    torch.manual_seed(race.seed)
    make = GOALS[race.goal].modules
    model = nn.Sequential(*make())
    optimizer = SGD(model.parameters(), lr=race.lr, momentum=MOMENTUM)
    course = Course(race, nn.Sequential(*make()), ahead)
    over = False
    course.begin()
    while not over:
        train(model, optimizer, course.loader)
        over = course.keep({name: each.clone() for name, each in model.state_dict().items()})
    return course


def actors(race: Race, ahead: Course | None, *, whole: bool, beyond: int = 1) -> Course:
    """Train with one sentinel, and `beyond` more batches in flight than there are gates.

    Weights are predicted, as the documentation recommends against stale gradients.
    """
    torch.manual_seed(race.seed)
    make = GOALS[race.goal].modules
    modules = [nn.Sequential(*make())] if whole else make()
    optimizer, prediction = partial(SGD, lr=race.lr, momentum=MOMENTUM), ak.WeightPrediction("linear")
    chain = [ak.Gate(str(n), each, optimizer, prediction, computations=COMPUTATIONS) for n, each in enumerate(modules)]
    course = Course(race, nn.Sequential(*([nn.Sequential(*make())] if whole else make())), ahead)
    sentinel = ak.TrainingSentinel("train", lambda: course.loader, cross_entropy, in_flight=len(chain) + beyond)
    with ak.launch(chain) as network:
        course.begin()
        network.attach(sentinel)
        with suppress(ak.SentinelFailed):  # it has diverged
            for _ in network.watch():
                if course.keep(network.state_dict()):
                    break
    return course


ARMS: dict[str, Callable[[Race, Course | None], Course]] = {
    "plain, 1 thread": partial(plain, threads=1),
    "plain, 2 threads": partial(plain, threads=2),
    "akkordeon, 3 gates": partial(actors, whole=False),
    "akkordeon, 1 gate": partial(actors, whole=True),
    "akkordeon, 1 gate, 1 in flight": partial(actors, whole=True, beyond=0),
}
SIDES = {"plain": tuple(ARMS)[:2], "akkordeon": tuple(ARMS)[2:]}


def run(race: Race, ahead: Course | None = None) -> Course:
    """Train until the goal is reached or out of reach.

    Args:
        race: the training.
        ahead: the best course so far; a run that is clearly behind it is given up.
    """
    x = torch.rand(race.batch, *GOALS[race.goal].shape)
    model = nn.Sequential(*GOALS[race.goal].modules())
    optimizer = SGD(model.parameters(), lr=0.0)
    train(model, optimizer, 10 * [(x, torch.zeros(race.batch, dtype=torch.int64))])  # warm-up
    return ARMS[race.arm](race, ahead)
