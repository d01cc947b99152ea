"""Each built-in recipe makes gates that fit together, and batches that they take."""

import hashlib
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import akkordeon as ak
from akkordeon import DataUnavailable, Gate
from akkordeon.actor import Engine
from akkordeon.datasets import Loader, images, text
from akkordeon.datasets.sources import FileSet
from akkordeon.recipes import char_gpt, digits, fashion_mnist, mnist
from tests.datasets import made_up_mnist
from tests.datasets.made_up_mnist import TEST, TRAIN, file_set, write

RECIPES: dict[str, Any] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "digits": digits,
    "char_gpt": char_gpt,
}
SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "digits": (8, 8)}
PLAY = b"Before we proceed any further, hear me speak.\n" * 100


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These networks are too small for more, and wait for each other where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=list(RECIPES))
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all the files that recipes ask for, made up."""
    for constant in ("MNIST", "FASHION_MNIST"):
        monkeypatch.setattr(images, constant, file_set())
    made_up = FileSet("shakespeare", "tiny-shakespeare", {"input.txt": hashlib.sha256(PLAY).hexdigest()}, ())
    monkeypatch.setattr(text, "SHAKESPEARE", made_up)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    char_gpt.shakespeare_is_there.cache_clear()
    return write(tmp_path / "data", made_up_mnist.files() | {"input.txt": PLAY})


def load(name: str, data: Path, *arguments: Any, **options: Any) -> Loader:
    """Batches of a recipe out of the made-up files; digits need none."""
    if name != "digits":
        options["folder"] = data
    loader: Loader = RECIPES[name].batches(*arguments, **options)
    return loader


def chain(gates: list[Gate]) -> nn.Sequential:
    return nn.Sequential(*(gate.module for gate in gates))


def parameters(gate: Gate) -> int:
    return sum(parameter.numel() for parameter in gate.module.parameters())


# All recipes


def test_a_recipe_says_what_it_is_in_one_line_and_has_all_four_parts(name: str) -> None:
    recipe = RECIPES[name]
    first, second, *_ = recipe.__doc__.splitlines()
    assert first.endswith(".")
    assert second == ""
    assert callable(recipe.loss)
    assert "accuracy" in recipe.metrics


def test_the_options_of_a_recipe_have_plain_types_and_defaults(name: str) -> None:
    for function, skip in ((RECIPES[name].gates, 0), (RECIPES[name].batches, 2)):
        for option in list(inspect.signature(function).parameters.values())[skip:]:
            assert option.default is not option.empty
            assert option.annotation in (int, float, str, bool, Path | None)


def test_a_batch_passes_through_all_gates_and_its_loss_falls(name: str, data: Path) -> None:
    recipe = RECIPES[name]
    x, target = next(iter(load(name, data, "train", batch_size=6)))
    model = chain(recipe.gates())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = recipe.loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert 0 <= float(recipe.metrics["accuracy"](model(x), target)) <= 1


def test_a_network_of_a_recipe_trains_and_is_tested(name: str, data: Path, engine: Engine) -> None:
    recipe = RECIPES[name]
    training = ak.TrainingSentinel(
        "train",
        lambda: load(name, data, "train", slice(12), batch_size=4),
        recipe.loss,
        recipe.metrics,
        in_flight=3,
        epochs=1,
    )
    test = ak.TestSentinel("test", lambda: load(name, data, "test", slice(4)), recipe.loss, recipe.metrics)
    with ak.launch(recipe.gates(), engine=engine) as network:
        reports = []
        for sentinel in (training, test):
            network.attach(sentinel)
            reports += list(network.watch())
    assert [(report.sentinel, report.samples, list(report.metrics)) for report in reports] == [
        ("train", 12, list(recipe.metrics)),
        ("test", 4, list(recipe.metrics)),
    ]


def test_gates_are_the_same_for_one_seed(name: str) -> None:
    def weights() -> list[torch.Tensor]:
        torch.manual_seed(5)
        return [parameter for gate in RECIPES[name].gates() for parameter in gate.module.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


def test_training_is_shuffled_by_the_seed_and_the_rest_comes_in_order(name: str, data: Path) -> None:
    def first(split: str, seed: int) -> torch.Tensor:
        return next(iter(load(name, data, split, seed=seed)))[0]

    assert torch.equal(first("train", 1), first("train", 1))
    assert not torch.equal(first("train", 1), first("train", 2))
    for split in ("validate", "test"):
        assert torch.equal(first(split, 1), first(split, 2))


def test_a_slice_says_what_to_take(name: str, data: Path) -> None:
    loader = load(name, data, "train", slice(5, 9), batch_size=3)
    assert [len(target) for _, target in loader] == [3, 1]
    with pytest.raises(ValueError, match="take 5:5 leaves none"):
        load(name, data, "train", slice(5, 5))


def test_a_split_that_does_not_exist_is_refused(name: str, data: Path) -> None:
    with pytest.raises(ValueError, match="has the splits train, validate, test, not 'all'"):
        load(name, data, "all")


def test_the_learning_rate_is_the_one_given_and_falls_over_the_updates(name: str) -> None:
    for gate in RECIPES[name].gates(lr=0.01, updates=200):
        optimizer = gate.make_optimizer(gate.module)
        assert optimizer is not None
        scheduler = gate.make_scheduler(optimizer)
        assert scheduler is not None
        rates = []
        for _ in range(300):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert max(rates) == pytest.approx(0.01)
        assert rates[200] == rates[-1] <= 0.1 * 0.01 * 1.001
        assert rates[120] > rates[150] > rates[180] > rates[200]


# Pictures


def test_pictures_have_one_batch_per_so_many_of_them(data: Path) -> None:
    for name in ("mnist", "fashion_mnist"):
        assert len(load(name, data, "train", batch_size=100)) == TRAIN // 100
        assert len(load(name, data, "test")) == -(-TEST // 500)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist", {"stem": 39250, "body": 1020, "head": 210}),
        ("fashion_mnist", {"stem": 176, "body": 4672, "neck": 18560, "head": 75402}),
        ("digits", {"stem": 4160, "body": 2080, "head": 330}),
    ],
)
def test_gates_have_so_many_parameters(name: str, sizes: dict[str, int]) -> None:
    gates = RECIPES[name].gates()
    assert {gate.name: parameters(gate) for gate in gates} == sizes
    assert tuple(chain(gates)(torch.rand(3, *SHAPES[name])).shape) == (3, 10)


def test_fashion_mnist_can_be_made_wider_and_compute_several_batches_at_once() -> None:
    gates = fashion_mnist.gates(channels=8, dropout=0.0, computations=2)
    assert [gate.computations for gate in gates] == [2, 2, 2, 1]
    assert parameters(gates[0]) == 8 * 9 + 16
    model = chain(gates)
    x = torch.rand(4, 28, 28)
    assert torch.equal(model(x), model(x))  # nothing is drawn


def test_fashion_mnist_draws_random_numbers_in_its_last_gate_alone() -> None:
    x = torch.rand(4, 28, 28)
    for gate in fashion_mnist.gates():
        before = torch.get_rng_state()
        x = gate.module(x)
        assert torch.equal(torch.get_rng_state(), before) == (gate.name != "head")


def test_digits_can_be_made_wider() -> None:
    assert parameters(digits.gates(width=20)[1]) == 20 * 10 + 10


# Text


def test_char_gpt_has_two_gates_per_block_and_their_sizes_are_alike() -> None:
    sizes = {gate.name: parameters(gate) for gate in char_gpt.gates()}
    assert list(sizes) == [f"{half}{number}" for number in range(1, 5) for half in ("attention", "perceptron")]
    embedding, attention, perceptron, reading = 128 * 128 + 64 * 128, 128 + 4 * 128**2, 128 + 8 * 128**2, 128 + 128**2
    assert sum(sizes.values()) == embedding + 4 * (attention + perceptron) + reading
    assert max(sizes.values()) < 2.5 * min(sizes.values())


@pytest.mark.parametrize("options", [{"blocks": 1}, {"blocks": 2, "width": 24, "heads": 3}, {"context": 16}])
def test_char_gpt_can_be_made_in_other_sizes(options: dict[str, Any]) -> None:
    gates = char_gpt.gates(**options)
    context = options.get("context", 64)
    assert len(gates) == 2 * options.get("blocks", 4)
    assert tuple(chain(gates)(torch.randint(128, (2, context))).shape) == (2, 128, context)


def test_char_gpt_does_not_look_ahead() -> None:
    model = char_gpt.model(width=16, heads=2, blocks=2)
    codes = torch.randint(128, (1, 20))
    other = codes.clone()
    other[0, 12:] = torch.randint(128, (8,))
    same = (model(codes) - model(other)).abs().amax(dim=1)[0] < 1e-6
    assert same[:12].all()
    assert not same[12:].all()


def test_char_gpt_draws_nothing_without_dropout_and_only_while_training_with_it() -> None:
    codes = torch.randint(128, (2, 20))
    plain, noisy = (char_gpt.model(width=16, heads=2, blocks=1, dropout=share) for share in (0.0, 0.5))
    assert torch.equal(plain(codes), plain(codes))
    assert not torch.equal(noisy(codes), noisy(codes))
    noisy.eval()
    assert torch.equal(noisy(codes), noisy(codes))


def test_char_gpt_in_one_piece_is_its_gates_one_after_the_other() -> None:
    torch.manual_seed(1)
    whole = char_gpt.model()
    torch.manual_seed(1)
    gates = char_gpt.gates()
    codes = torch.randint(128, (2, 64))
    assert torch.equal(whole(codes), chain(gates)(codes))
    assert [name for name, _ in whole.named_children()] == [gate.name for gate in gates]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 30}, "width must be a multiple of heads, and 30 is no multiple of 4"),
        ({"heads": 0}, "width must be a multiple of heads"),
        ({"blocks": 0}, "at least 1 block, not 0"),
    ],
)
def test_char_gpt_refuses_what_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        char_gpt.gates(**options)


def test_windows_are_as_long_as_the_context(data: Path) -> None:
    x, target = next(iter(char_gpt.batches("train", folder=data, context=16)))
    assert tuple(x.shape) == tuple(target.shape) == (12, 16)


def test_a_text_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="text must be one of auto, shakespeare, python, not 'goethe'"):
        char_gpt.batches("train", text="goethe")


def test_without_shakespeare_python_is_learned_and_that_is_said_once(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "akkordeon.recipes.char_gpt"):
        found = [next(iter(char_gpt.batches(split)))[0] for split in ("validate", "test")]
    python = next(iter(char_gpt.batches("test", text="python")))[0]
    assert all(torch.equal(x, python) for x in found)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "training on Python programs instead of Shakespeare"
    ]


def test_shakespeare_is_learned_if_it_is_in_the_cache(data: Path, tmp_path: Path) -> None:
    write(tmp_path / "cache" / "akkordeon" / "shakespeare", {"input.txt": PLAY})
    found = next(iter(char_gpt.batches("test")))[0]
    assert torch.equal(found, next(iter(char_gpt.batches("test", text="shakespeare", folder=data)))[0])


def test_shakespeare_that_was_asked_for_is_not_replaced(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match="tiny-shakespeare could not be fetched"):
        char_gpt.batches("train", text="shakespeare")
    with pytest.raises(DataUnavailable, match="does not hold tiny-shakespeare"):
        char_gpt.batches("train", folder=tmp_path)
