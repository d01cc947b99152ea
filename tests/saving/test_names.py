"""Weights by their names in the whole network: given to a network, taken out of it, and under another split."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LinearLR

import akkordeon as ak
from akkordeon import AkkordeonError, CheckpointMismatch, Gate, WiringError, launch
from tests.networks import stepped, training
from tests.saving.saves import momentum, normed, run_until, train_and_save


def layers(seed: int = 0) -> nn.Sequential:
    """A model as its author wrote it, before it was cut."""
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(6)
    norm.register_buffer("scratch", torch.ones(2), persistent=False)
    frozen = nn.Linear(6, 6).requires_grad_(False)
    return nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU(), frozen, nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


class Part(nn.Module):
    """Some of the layers, under the names that they have in the model."""

    def __init__(self, model: nn.Sequential, numbers: Sequence[int]) -> None:
        super().__init__()
        for number in numbers:
            self.add_module(str(number), model[number])

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return x


def cut(*places: int, seed: int = 0, prefix: str = "net.") -> list[Gate]:
    """The model in gates that begin at these layers."""
    model = layers(seed)
    ends = [*places[1:], len(model)]
    parts = [Part(model, range(start, end)) for start, end in zip(places, ends, strict=True)]
    return [Gate(f"gate {n}", part, momentum, prefix=prefix) for n, part in enumerate(parts)]


def three(seed: int = 0) -> list[Gate]:
    return cut(0, 3, 5, seed=seed)


def two(seed: int = 0) -> list[Gate]:
    return cut(0, 4, seed=seed)


def one(seed: int = 0) -> list[Gate]:
    return cut(0, seed=seed)


def same(some: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, some.state_dict().values(), other.state_dict().values()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_and_save(folder, three)
    return folder


@pytest.mark.parametrize("other", [three, two, one])
def test_weights_fit_any_split_of_the_same_network(trained: Path, other: partial[list[Gate]]) -> None:
    x = torch.randn(7, 4)
    expected = ak.load(trained, three()).eval()(x)
    assert not torch.equal(expected, nn.Sequential(*(gate.module for gate in three())).eval()(x))
    loaded = ak.load(trained, other(seed=9)).eval()
    assert torch.equal(loaded(x), expected)
    with launch(other(seed=8), engine=stepped(), weights=trained) as network:
        assert torch.equal(network.model().eval()(x), expected)


def test_what_is_given_as_file_folder_or_state_dict_is_the_same(trained: Path, tmp_path: Path) -> None:
    with launch(two(), engine=stepped(), weights=trained) as network:
        network.export(tmp_path / "w.safetensors")
        expected = network.model()
    given: list[Any] = [
        tmp_path / "w.safetensors",
        str(tmp_path / "w.safetensors"),
        load_file(tmp_path / "w.safetensors"),
    ]
    for weights in (*given, trained, str(trained), next(trained.glob("v*"))):
        with launch(two(seed=5), engine=stepped(), weights=weights) as network:
            assert same(network.model(), expected)


def test_a_state_dict_of_the_uncut_model_fits_its_gates_and_back(tmp_path: Path) -> None:
    model = layers(seed=4)
    with launch(cut(0, 3, prefix=""), engine=stepped(), weights=model.state_dict()) as network:
        network.attach(training())
        run_until(network, 3)
        network.detach("train")
        network.export(tmp_path / "w.safetensors")
        x = torch.randn(5, 4)
        expected = network.model().eval()(x)
    exported = load_file(tmp_path / "w.safetensors")
    assert exported.keys() == model.state_dict().keys()
    model.load_state_dict(exported)
    assert torch.equal(model.eval()(x), expected)
    assert exported["1.num_batches_tracked"].dtype == torch.int64
    assert exported["1.num_batches_tracked"].item() >= 3


def test_without_a_prefix_the_names_are_those_of_the_model_taken_out(tmp_path: Path) -> None:
    with launch(normed(), engine=stepped()) as network:
        network.export(tmp_path / "w.safetensors")
        model = network.model()
    exported = load_file(tmp_path / "w.safetensors")
    assert exported.keys() == model.state_dict().keys()
    model.load_state_dict(exported)
    assert any(name.startswith("stem.1.running_mean") for name in exported)


def test_a_network_trains_on_from_weights_with_a_fresh_optimizer(trained: Path) -> None:
    with launch(one(), engine=stepped(), weights=trained) as network:
        assert network.status().gates[0].version == 0
        network.attach(training(epochs=1))
        (report,) = network.watch()
    assert report.epoch == 1
    assert report.complete


def test_frozen_weights_are_loaded_and_stay_frozen(trained: Path) -> None:
    weights = load_file(next(next(trained.glob("v*")).glob("01-*1.safetensors")))
    weights = {f"net.{name}": tensor + 1 for name, tensor in weights.items()}
    everything = {**_exported(three(seed=3)), **weights}
    with launch(three(seed=2), engine=stepped(), weights=everything) as network:
        network.attach(training(epochs=1))
        list(network.watch())
        module = network.model()[1]
    assert torch.equal(module.get_parameter("3.weight"), weights["net.3.weight"])
    assert not module.get_parameter("3.weight").requires_grad


def _exported(gates: Sequence[Gate]) -> dict[str, Tensor]:
    return {gate.whole_prefix + name: tensor for gate in gates for name, tensor in gate.module.state_dict().items()}


class Tied(nn.Module):
    """Reads and writes with one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Linear(4, 4, bias=False)
        self.outward = nn.Linear(4, 3)
        self.outward.weight = nn.Parameter(torch.randn(3, 4))
        self.again = self.outward

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.again(self.inward(x)) + self.outward(x)
        return y


def test_a_parameter_held_in_two_places_counts_once_and_stays_tied(tmp_path: Path) -> None:
    gates = [Gate("g", Tied(), partial(Adam, lr=0.1))]
    with launch(gates, engine=stepped()) as network:
        network.attach(training())
        run_until(network, 3)
        network.save(tmp_path / "run")
        network.detach("train")
        network.export(tmp_path / "w.safetensors")
    assert set(load_file(tmp_path / "w.safetensors")) == {"g.inward.weight", "g.outward.weight", "g.outward.bias"}
    for path in (tmp_path / "run", tmp_path / "w.safetensors"):
        module = ak.load(path, [Gate("g", Tied(), partial(Adam, lr=0.1))])[0]
        assert isinstance(module, Tied)
        assert module.again.weight is module.outward.weight
        assert torch.equal(module.outward.weight, load_file(path)["g.outward.weight"]) if path.is_file() else True
    with launch(gates, engine=stepped(), weights=Tied().state_dict(prefix="g.")) as network:  # both names are known
        assert network.status().state == "open"
    with launch(gates, engine=stepped(), resume=tmp_path / "run") as network:
        network.attach(training(epochs=2))
        assert list(network.watch())


def test_buffers_that_no_state_dict_holds_are_saved_but_not_exported(tmp_path: Path) -> None:
    train_and_save(tmp_path, three)
    with launch(three(seed=1), engine=stepped(), resume=tmp_path) as network:
        network.export(tmp_path / "w.safetensors")
        assert network.model()[0].get_buffer("1.scratch").tolist() == [1, 1]
    assert not [name for name in load_file(tmp_path / "w.safetensors") if "scratch" in name]


def test_the_gates_given_are_left_as_they_were(trained: Path) -> None:
    gates = three(seed=6)
    before = _exported(gates)
    copies = {name: tensor.clone() for name, tensor in before.items()}
    ak.load(trained, gates)
    with launch(gates, engine=stepped(), weights=trained), launch(gates, engine=stepped(), resume=trained):
        pass
    assert all(torch.equal(before[name], copies[name]) for name in copies)


def test_the_weights_given_are_left_as_they_were_and_not_shared() -> None:
    weights = _exported(one(seed=3))
    copies = {name: tensor.clone() for name, tensor in weights.items()}
    with launch(one(), engine=stepped(), weights=weights) as network:
        network.attach(training(epochs=2))
        list(network.watch())
    assert all(torch.equal(weights[name], copies[name]) for name in copies)


def test_every_difference_is_listed_at_once(trained: Path, tmp_path: Path) -> None:
    weights = _exported(three())
    del weights["net.0.bias"]
    weights["net.6.weight"] = torch.ones(3, 6)
    weights["net.9.weight"] = torch.ones(1)
    save_file(weights, tmp_path / "w.safetensors")
    for given in (weights, tmp_path / "w.safetensors"):
        with pytest.raises(CheckpointMismatch) as caught:
            launch(three(), engine=stepped(), weights=given)
        for part in (
            "'net.0.bias' of gate 'gate 0' is missing",
            "'net.6.weight' is (3, 6), and gate 'gate 2' has (3, 5)",
            "'net.9.weight' belongs to no gate",
        ):
            assert part in str(caught.value)
    with pytest.raises(CheckpointMismatch, match=r"w\.safetensors does not fit these gates: 'net\.0\.bias'"):
        ak.load(tmp_path / "w.safetensors", three())


def test_resuming_with_other_gates_lists_every_difference_at_once(trained: Path) -> None:
    model = layers()
    others: list[Gate] = []
    optimizers: list[Any] = [partial(Adam, lr=0.1), momentum, partial(SGD, lr=0.1)]
    for gate, optimizer in zip(three(), optimizers, strict=True):
        others.append(Gate(gate.name, gate.module, optimizer, accumulate=2, prefix="net."))
    others[1] = Gate(
        "gate 1",
        Part(nn.Sequential(*list(model)[:3], nn.Linear(6, 7), nn.Linear(7, 5)), [3, 4]),
        momentum,
        prefix="net.",
    )
    with pytest.raises(CheckpointMismatch) as caught:
        launch(others, engine=stepped(), resume=trained)
    for part in (
        "'net.3.weight' is (6, 6), and gate 'gate 1' has (7, 6)",
        "gate 'gate 0': its optimizer was SGD of 4 parameters, and is Adam of 4 parameters",
        "gate 'gate 0': its accumulation was 1 batches per update, and is 2 batches per update",
        "gate 'gate 2': its accumulation was",
    ):
        assert part in str(caught.value)


def test_resuming_another_chain_says_how_to_take_the_weights_alone(trained: Path) -> None:
    with pytest.raises(CheckpointMismatch, match=r"has the gates gate 0, gate 1, gate 2, and .*give weights="):
        launch(two(), engine=stepped(), resume=trained)


def test_many_differences_are_counted(trained: Path) -> None:
    with pytest.raises(CheckpointMismatch, match=r"; and \d+ more$"):
        launch(cut(0, 3, prefix="other."), engine=stepped(), weights=trained)


def test_weights_and_resume_exclude_each_other(trained: Path) -> None:
    with pytest.raises(WiringError, match="not both"):
        launch(three(), engine=stepped(), weights=trained, resume=trained)


def test_a_network_that_could_not_begin_leaves_no_engine_behind(trained: Path) -> None:
    engine = stepped()
    with pytest.raises(AkkordeonError):
        launch(two(), engine=engine, resume=trained)
    assert engine.time == 0.0
    engine.close()


def test_the_state_dict_of_a_network_loads_into_the_model_that_was_split() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    with ak.launch(ak.split(model, at=["2"], optimizer=partial(SGD, lr=0.1)), engine=stepped()) as network:
        network.attach(training(epochs=1))
        list(network.watch())
        before, after = model.state_dict(), network.state_dict()
        assert not torch.equal(before["0.weight"], after["0.weight"])
        model.load_state_dict(after)
        assert int(model[1].num_batches_tracked) == 4  # type: ignore[arg-type]


def test_a_schedule_that_goes_on_otherwise_than_described_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def described(updates: int) -> list[ak.Gate]:
        falling = partial(LinearLR, start_factor=1.0, end_factor=0.01, total_iters=updates)
        return [ak.Gate("gate", nn.Linear(4, 3), partial(SGD, lr=0.1), scheduler=falling)]

    with ak.launch(described(8), engine=stepped()) as network:
        network.attach(training(epochs=1))
        list(network.watch())
        network.save(tmp_path)
    with ak.launch(described(8), engine=stepped(), resume=tmp_path):
        assert not caplog.records
    with ak.launch(described(16), engine=stepped(), resume=tmp_path):
        assert "LinearLR of gate 'gate' goes on with total_iters=8, not 16" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nn.Sequential(nn.Linear(4, 3)), r"this is a Sequential; cut it into gates with akkordeon\.split"),
        (ak.Gate("alone", nn.Linear(4, 3), partial(SGD, lr=0.1)), r"put gate 'alone' into one: \[gate\]"),
    ],
    ids=["model", "gate"],
)
def test_what_is_no_list_of_gates_is_refused_with_the_remedy(given: Any, message: str) -> None:
    with pytest.raises(ak.WiringError, match=message):
        ak.launch(given)
