"""The experiments: tasks, delays, arms, and how much of each runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.staleness.arms import SYNCHRONOUS, UNCOMPENSATED, arms
from benchmarks.staleness.search import FACTORS
from benchmarks.staleness.trial import Trial


@dataclass(frozen=True)
class Size:
    """The size of an experiment.

    Args:
        updates: of each run.
        seeds: final runs of each arm.
        factors: of the usual learning rate, to try.
        tuning: runs for each.
        shorter: updates of these runs; None for all.
        arms: names; empty for all of the family.
    """

    updates: int
    seeds: int
    factors: Sequence[float] = FACTORS
    tuning: int = 1
    shorter: int | None = None
    arms: Sequence[str] = ()


@dataclass(frozen=True)
class Condition:
    """A table: one task, one kind of delay.

    Args:
        title: of the table.
        task: name of one.
        profile: of delays.
        family: of arms.
        lr: the usual learning rate.
        arms: names; empty for all of the family.
    """

    title: str
    task: str
    profile: tuple[Any, ...]
    family: str
    lr: float
    arms: Sequence[str] = ()


@dataclass(frozen=True)
class Experiment:
    """A published experiment, repeated with all compensations.

    Args:
        key: on the command line.
        title: of its section.
        about: its source, and the expected result.
        conditions: one table each.
        quick: its size for a test of the benchmark.
        full: its size for figures.
        points: evaluations on held-out data during training.
        warm_up: updates over which the learning rate rises, before it falls again; 0 keeps it constant.
        accuracy: to reach, if the experiment counts updates until then.
        longer: give the best arm more updates, until it has the final loss of synchronous training.
    """

    key: str
    title: str
    about: str
    conditions: Sequence[Condition]
    quick: Size
    full: Size
    points: int = 1
    warm_up: int = 0
    accuracy: float | None = None
    longer: bool = False

    def trials(self, condition: Condition, size: Size) -> Iterator[Trial]:
        """Yield one trial per arm."""
        every = arms(condition.family)
        for name in condition.arms or size.arms or every:
            yield Trial(
                task=condition.task,
                profile=condition.profile,
                family=condition.family,
                arm=name,
                lr=condition.lr,
                seed=0,
                updates=size.updates,
                points=self.points,
                warm_up=self.warm_up,
            )


ALWAYS = (SYNCHRONOUS, UNCOMPENSATED, "momentum 0", "η/(1+τ)")
"""In every table: the loss by staleness, and the remedies without a compensation."""

REFERENCE = 0.9 ** (8 / 128)
"""Momentum for batches of 8 that corresponds to 0.9 for 128: Kosson et al., section 4.2."""

KOSSON = f"sgd {REFERENCE:.5f}"
KOSSON_RATE = 0.1 * (1 - REFERENCE) * 8 / ((1 - 0.9) * 128)

GEM = Experiment(
    key="r2",
    title="R2. Gradient energy matching, figure 1",
    about=(
        "Hermans and Louppe 2018 on Fashion-MNIST instead of MNIST: their CNN, batch 64, momentum 0.9, workers that "
        "take turns; one epoch, each arm at its best rate. Expected: uncompensated training suffers more and more from "
        "10 workers on; 1/(1+τ) is stable and slow; GEM is the same for any number. Spike compensation and prediction "
        "are not in the paper."
    ),
    conditions=[
        Condition(f"{workers} workers", "gem", ("uniform", workers - 1), "sgd 0.9", 0.01) for workers in (5, 10, 30)
    ],
    quick=Size(60, 1, (0.1, 1.0), arms=(UNCOMPENSATED, "η/(1+τ)", "GEM", "spike")),
    full=Size(840, 1, shorter=400, arms=(*ALWAYS, "GEM", "spike", "linear", "linear + spike")),
)

DEPTH = Experiment(
    key="r3",
    title="R3. Depth and optimizers",
    about=(
        "Dai et al. 2019 on Fashion-MNIST: batches of 64 until the held-out accuracy is 84 %, of perceptrons of 1 and "
        "4 hidden layers, for delays drawn from 0..s. Expected: more harm to deeper networks; little to SGD and "
        "Adagrad, much to momentum, Adam and RMSprop. Rates as usual, the same for all delays."
    ),
    conditions=[
        Condition(
            f"hidden layers: {hidden}, s = {s}",
            f"mlp{hidden}",
            ("scattered", s),
            "bare",
            0.05,
        )
        for hidden in (1, 4)
        for s in (0, 4, 8, 16)
    ],
    quick=Size(60, 1, (1.0,)),
    full=Size(1500, 2, (1.0,)),
    points=20,
    accuracy=0.84,
)

DELAY = Experiment(
    key="r5",
    title="R5. Delay compensation",
    about=(
        "DC-ASGD (Zheng et al. 2017) with plain SGD and workers that take turns, on a small CNN and Fashion-MNIST, "
        "each arm at its best rate. Expected: a tie within noise at the best rates; the adaptive form "
        "stable at higher ones."
    ),
    conditions=[
        Condition(f"{workers} workers", "cnn", ("uniform", workers - 1), "sgd 0.9", 0.003) for workers in (4, 8)
    ],
    quick=Size(60, 1, (0.316, 1.0), arms=("momentum 0", "DC-a, momentum 0", "DC-c, momentum 0")),
    full=Size(
        800,
        3,
        arms=(*ALWAYS, "DC-a, momentum 0", "DC-c, momentum 0", "spike"),
    ),
)

SHARED = Experiment(
    key="r5-shared",
    title="R5. Delay compensation at one aggressive rate",
    about=(
        "The same at a rate at which uncompensated SGD suffers. Expected: DC-a is ahead, and DC-c like uncompensated."
    ),
    conditions=[
        Condition("8 workers, η = 0.05", "cnn", ("uniform", 7), "sgd 0.9", 0.005),
    ],
    quick=Size(60, 1, (1.0,), arms=("momentum 0", "DC-a, momentum 0", "DC-c, momentum 0")),
    full=Size(800, 3, (1.0,), arms=("momentum 0", "DC-a, momentum 0", "DC-c, momentum 0")),
)

PIPELINE = Experiment(
    key="r6",
    title="R6. Fine-grained pipelined backpropagation",
    about=(
        "Kosson et al. 2021: 8 gates, batch 8, gate k is 2(7-k) updates late; momentum 0.9 and rate 0.1 of batch "
        f"128, scaled to batch 8: {REFERENCE:.4f} and {KOSSON_RATE:.5f}, tuned from there. Here a perceptron with "
        "group norm on Fashion-MNIST. Expected: uncompensated behind, spike compensation and prediction win most "
        "of it back."
    ),
    conditions=[Condition("8 gates, τ = 14, 12, … 0", "deep", ("pipelined", 8), KOSSON, KOSSON_RATE)],
    quick=Size(150, 2, (0.1, 0.316), arms=(SYNCHRONOUS, UNCOMPENSATED, "spike", "linear", "linear + spike")),
    full=Size(
        1200,
        10,
        (0.01, 0.0316, 0.1, 0.316),
        shorter=600,
        arms=(
            *ALWAYS,
            "spike",
            "linear",
            "linear + spike",
            "linear, last tenth synchronous",
        ),
    ),
)

THREADS = Experiment(
    key="r6-threads",
    title="R6 on the threads engine",
    about="The same network with 8 batches in flight on this machine: the delay is what comes out.",
    conditions=[Condition("8 gates, 8 in flight", "deep", ("threads", 8), KOSSON, KOSSON_RATE)],
    quick=Size(100, 1, (1.0,), arms=(SYNCHRONOUS, UNCOMPENSATED, "spike", "linear")),
    full=Size(1500, 5, (1.0,), arms=(SYNCHRONOUS, UNCOMPENSATED, "spike", "linear", "linear + spike")),
)

BESIDE_ADAMW = (
    SYNCHRONOUS,
    UNCOMPENSATED,
    "β1 0.5",
    "η/(1+τ)",
    "NAdamW 0.99",
    "NAdamW 0.99, ψ = 0.004, η/(1+τ)",
    "linear",
)

LANGUAGE = Experiment(
    key="r7",
    title="R7. A small GPT in 8 gates",
    about=(
        "Ajanthan et al. 2025 on a small scale: nanoGPT's character model for a CPU (4 layers of 128, windows of "
        "64, batch 12), in 8 gates, gate k 7-k updates late; AdamW as nanoGPT has it, rate 0.001 tuned from "
        "there. Its published loss on held-out Shakespeare after 2,000 updates is 1.88. Expected: NAdamW 0.99 and "
        "SC-AdamW near synchronous."
    ),
    conditions=[Condition("8 gates, τ = 7, 6, … 0", "text", ("1F1B", 8), "adam", 1e-3)],
    quick=Size(20, 1, (1.0,), arms=(SYNCHRONOUS, UNCOMPENSATED, "β1 0.5", "NAdamW 0.99", "SC-AdamW 0.99", "linear")),
    full=Size(
        2000,
        3,
        (0.316, 0.562, 1.0, 2.0),
        shorter=500,
        arms=BESIDE_ADAMW,
    ),
    points=20,
    warm_up=100,
    longer=True,
)

SEED = (*ALWAYS, "linear", "linear + spike", "linear, last tenth synchronous")

IMAGES = Experiment(
    key="mnist",
    title="The seed's network: MNIST, 784-50-20-10, five batches in flight",
    about=(
        "Five epochs of batches of 64; one forward and one backward take equally long. The learning rate rises over "
        "300 updates and falls to a tenth then. Each arm is tuned on held-out training data, and tested on the 10,000."
    ),
    conditions=[Condition("batches of 64", "mnist", ("1F1B", 3, 5), "sgd 0.9", 0.03)],
    quick=Size(200, 1, (0.316, 1.0), arms=(SYNCHRONOUS, UNCOMPENSATED, "momentum 0", "linear")),
    full=Size(4290, 20, (0.316, 0.562, 1.0, 1.78), arms=SEED),
    warm_up=300,
)

ADAM = Experiment(
    key="mnist-adam",
    title="The seed's network with AdamW",
    about="As before, with AdamW of betas 0.9 and 0.99 and weight decay 0.1 as the base.",
    conditions=[Condition("batches of 64, AdamW", "mnist", ("1F1B", 3, 5), "adam", 3e-3)],
    quick=Size(200, 1, (0.316, 1.0), arms=(SYNCHRONOUS, UNCOMPENSATED, "β1 0.5", "linear")),
    full=Size(
        4290,
        20,
        (0.316, 0.562, 1.0, 1.78),
        arms=(*BESIDE_ADAMW, "SC-AdamW 0.9"),
    ),
    warm_up=300,
)

LARGE = Experiment(
    key="mnist-1024",
    title="The seed's network with batches of 1024",
    about=(
        "Ten epochs, few updates: synchronous training is limited by the largest stable step here, and that is what "
        "staleness takes away. Learning rates stay as they are."
    ),
    conditions=[Condition("batches of 1024", "mnist-1024", ("1F1B", 3, 5), "sgd 0.9", 0.1)],
    quick=Size(40, 2, (0.1, 1.0), arms=(SYNCHRONOUS, UNCOMPENSATED, "momentum 0", "linear")),
    full=Size(530, 10, (0.0316, 0.1, 0.178, 0.316, 1.0), arms=SEED),
)

EXPERIMENTS = {each.key: each for each in (GEM, DEPTH, DELAY, SHARED, PIPELINE, THREADS, LANGUAGE, IMAGES, ADAM, LARGE)}
