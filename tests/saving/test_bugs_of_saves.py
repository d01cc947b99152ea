"""Each of these was a bug once: of what is saved, how it is read, and where it is resumed."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torchmetrics.classification import MulticlassAccuracy

import akkordeon as ak
from akkordeon.messages.states import GateState
from akkordeon.saving import Saved, read, write
from akkordeon.saving.codec import decode, encode
from akkordeon.saving.layout import MANIFEST
from akkordeon.sentinel.metrics import Metrics
from tests.networks import data, gates, pairs, stepped, training
from tests.saving.saves import reseal, run_until, train_and_save

sgd = partial(SGD, lr=0.1)


def one_gate(module: nn.Module, optimizer: Callable[[Any], SGD] = sgd) -> list[ak.Gate]:
    return [ak.Gate("g", module, optimizer)]


# What cannot be saved


class OddSGD(SGD):
    """Keeps what no save can hold."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "odd": {1, 2}}


class RaisingSGD(SGD):
    """Does not tell its state."""

    def state_dict(self) -> dict[str, Any]:
        raise ZeroDivisionError("no state")


class Extra(nn.Linear):
    """Keeps more than parameters and buffers."""

    def get_extra_state(self) -> Tensor:
        return torch.tensor(3)

    def set_extra_state(self, state: Tensor) -> None:
        """Never called."""


@pytest.mark.parametrize(
    ("module", "optimizer", "message"),
    [
        (nn.Linear, OddSGD, r"g\.optimizer\.odd is a set, which cannot be saved"),
        (nn.Linear, RaisingSGD, "gate g cannot be copied: ZeroDivisionError: no state"),
        (Extra, SGD, "gate g cannot be copied: TypeError: its module has '_extra_state'"),
    ],
    ids=["odd", "raising", "extra"],
)
def test_what_cannot_be_saved_of_a_gate_is_named_and_the_network_goes_on(
    module: type[nn.Linear], optimizer: type[SGD], message: str, tmp_path: Path
) -> None:
    with ak.launch(one_gate(module(4, 3), partial(optimizer, lr=0.1)), engine=stepped()) as network:
        network.attach(training())
        run_until(network, 3)
        with pytest.raises(ak.SaveFailed, match=message):
            network.save(tmp_path / "run")
        assert list(tmp_path.rglob("*.safetensors")) == []
        network.export(tmp_path / "w.safetensors")  # of the weights alone all can be told
        assert len(network.model()) == 1
        run_until(network, 6)
        assert network.status().state == "open"


@pytest.mark.parametrize(
    "buffer", [torch.eye(3).to_sparse(), torch.zeros(2, dtype=torch.complex128)], ids=["sparse", "complex128"]
)
def test_a_tensor_that_safetensors_cannot_write_is_saved_but_not_exported(buffer: Tensor, tmp_path: Path) -> None:
    module = nn.Linear(4, 3)
    module.register_buffer("extra", buffer)
    gates = one_gate(module)
    with ak.launch(gates, engine=stepped()) as network:
        version = network.save(tmp_path / "run")
        with pytest.raises(
            ak.SaveFailed, match=r"w\.safetensors cannot hold 'g\.extra', which is sparse or complex128"
        ):
            network.export(tmp_path / "w.safetensors")
    assert sorted(load_file(version / "00-g.safetensors")) == ["bias", "weight"]
    assert torch.equal(read(tmp_path / "run").weights["g.extra"].to_dense(), buffer.to_dense())
    for loaded in (ak.load(tmp_path / "run", gates)[0], ak.load(version, gates)[0]):
        assert torch.equal(loaded.get_buffer("extra").to_dense(), buffer.to_dense())
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning", "ignore:TypedStorage is deprecated:UserWarning")
def test_a_tensor_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)
    module.register_buffer("scale", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), persistent=False)
    with ak.launch(one_gate(module), engine=stepped()) as network:
        what = r"g\.buffers\.scale is a tensor of torch.qint8 .* which cannot be saved"
        with pytest.raises(ak.SaveFailed, match=what):
            network.save(tmp_path)
        assert len(network.model()) == 1


class Silent(ak.Perplexity):
    """Does not tell its state."""

    def state_dict(self) -> dict[str, float]:
        raise ZeroDivisionError("no state")


def test_a_gauge_that_does_not_tell_its_state_has_no_figure_for_the_epoch_that_was_interrupted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    described = ak.TrainingSentinel("train", data(), cross_entropy, {"silent": Silent()}, epochs=2)
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(described)
        run_until(network, 2)
        network.save(tmp_path)
        assert len(list(network.watch())) == 2  # it has not ended training
    assert "metric 'silent' cannot be saved, ZeroDivisionError: no state" in caplog.text
    with ak.launch(gates(), engine=stepped(), resume=tmp_path) as network:
        network.attach(described)
        first, second = network.watch()
    assert first.samples == 20
    assert math.isnan(first.metrics["silent"])
    assert second.metrics["silent"] > 1


@pytest.mark.parametrize(
    "tree",
    [{"a": {"b": torch.tensor(1)}, "a.b": torch.tensor(2)}, {1: torch.tensor(1), "1": torch.tensor(2)}],
    ids=["dots", "numbers"],
)
def test_no_tensor_takes_the_place_of_another_whose_keys_spell_alike(tree: Any) -> None:
    tensors: dict[str, Tensor] = {}
    assert str(decode(encode(tree, tensors, "here"), tensors)) == str(tree)


# Where it is saved


@pytest.mark.parametrize("name", ["v1.0", "v2_old2", "v1-backup2"])
def test_folders_that_look_like_versions_are_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    version = train_and_save(tmp_path, gates, saves=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "v000002", "v000003", "v000004"])
    assert [gate.version for gate in read(tmp_path).gates] == [gate.version for gate in read(version).gates]


def test_an_export_into_a_folder_that_is_a_file_is_a_failed_save(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        ak.launch(gates(), engine=stepped()) as network,
        pytest.raises(ak.SaveFailed, match=r"could not be written to .*file/w\.safetensors"),
    ):
        network.export(tmp_path / "file" / "w.safetensors")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_is_gone_when_it_is_looked_at_is_no_failure(tmp_path: Path) -> None:
    """Another process may rename its own just now; a link to nowhere is as hard to look at."""
    (tmp_path / "v.other.tmp").symlink_to("nowhere")
    state = GateState("g", "g.", 1, {"w": torch.ones(2)}, {"buffers": {}}, {})
    assert write(Saved((state,), {}, {}), tmp_path) == tmp_path / "v000001"
    assert read(tmp_path).gates[0].version == 1


# What is read


def assert_damaged(version: Path, message: str | None = None) -> None:
    """The version is refused, and the one before is used instead."""
    with pytest.raises(ak.CheckpointDamaged, match=message):
        read(version)
    assert [gate.version for gate in read(version.parent).gates] == [
        gate.version for gate in read(version.with_name("v000001")).gates
    ]


def test_a_file_that_a_gate_names_and_the_list_of_files_does_not_is_never_read(tmp_path: Path) -> None:
    version = train_and_save(tmp_path / "run", saves=2)
    (tmp_path / "secret.safetensors").write_bytes((version / "00-stem.safetensors").read_bytes())

    def change(manifest: dict[str, Any]) -> None:
        del manifest["files"]["00-stem.safetensors"]
        manifest["gates"][0]["weights"] = "../../secret.safetensors"

    reseal(version, change)
    assert_damaged(version, r"\.\./\.\./secret\.safetensors is used, but manifest\.json lacks its SHA-256")


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(files=[]),
        lambda manifest: manifest["sentinels"].update(positions=[]),
        lambda manifest: manifest["gates"][0].update(rest={"float": 10**400}),
        lambda manifest: manifest.update(gates=[]),
    ],
    ids=["files", "positions", "float", "no gates"],
)
def test_a_sealed_manifest_of_another_shape_is_damage(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    version = train_and_save(tmp_path, saves=2)
    reseal(version, change)
    assert_damaged(version)


def test_a_manifest_nested_deeper_than_python_goes_is_damage(tmp_path: Path) -> None:
    version = train_and_save(tmp_path, saves=2)
    (version / MANIFEST).write_text("[" * 200_000, encoding="utf-8")
    assert_damaged(version)


# Where it is resumed


def with_table(size: int) -> list[ak.Gate]:
    """A gate with a buffer that no state dict holds."""
    module = nn.Linear(4, 3)
    module.register_buffer("table", torch.full((size,), float(size)), persistent=False)
    return one_gate(module)


@pytest.mark.parametrize(("before", "after"), [(3, 4), (1, 4)])
def test_a_buffer_of_another_shape_outside_the_state_dict_is_a_mismatch(
    before: int, after: int, tmp_path: Path
) -> None:
    with ak.launch(with_table(before), engine=stepped()) as network:
        network.save(tmp_path)
    with pytest.raises(ak.CheckpointMismatch, match=rf"gate 'g': its buffer 'table' was \({before},\), and is another"):
        ak.launch(with_table(after), engine=stepped(), resume=tmp_path)


def test_weights_of_another_type_are_a_mismatch(tmp_path: Path) -> None:
    with ak.launch(one_gate(nn.Linear(4, 3)), engine=stepped()) as network:
        network.save(tmp_path)
    with pytest.raises(ak.CheckpointMismatch, match=r"its 'weight' was torch\.float32, and is torch\.bfloat16"):
        ak.launch(one_gate(nn.Linear(4, 3).bfloat16()), engine=stepped(), resume=tmp_path)


def test_a_gauge_of_torchmetrics_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    metrics: Metrics = {"theirs": MulticlassAccuracy(3, average="micro"), "ours": ak.accuracy}
    described = ak.TrainingSentinel("train", data((5,) * 20), cross_entropy, metrics, epochs=1)
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(described)
        run_until(network, 10)
        network.save(tmp_path)
    with ak.launch(gates(), engine=stepped(), resume=tmp_path) as network:
        network.attach(described)
        (report,) = network.watch()
    assert report.samples == 100
    assert report.metrics["theirs"] == pytest.approx(report.metrics["ours"])


def test_an_epoch_in_which_a_batch_was_refused_ends_after_a_return(tmp_path: Path) -> None:
    bad = pairs()
    bad[2] = (torch.zeros(5, 7), bad[2][1])
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(ak.TrainingSentinel("train", lambda: bad, cross_entropy, epochs=1))
        with pytest.raises(ak.BatchRefused):
            list(network.watch())
        network.save(tmp_path)
    with ak.launch(gates(), engine=stepped(), resume=tmp_path) as network:
        network.attach(training(epochs=1))
        reports = list(network.watch())
    assert [(report.epoch, report.complete) for report in reports] == [(1, True)]
