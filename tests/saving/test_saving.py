"""A saved network as it lies on the disk: versions, files, names, and what is kept of older ones."""

import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon import AkkordeonError, CheckpointDamaged, Gate, launch
from akkordeon.messages.states import GateState, Mark, Position
from akkordeon.saving import Saved, export, packages, read, read_weights, write, write_weights
from akkordeon.saving.writing import ABANDONED, KEEP
from tests.networks import gates, stepped, training
from tests.saving.saves import can_be_resumed, contents, manifest_of, normed, run_until, same_weights, train_and_save


def versions(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def one_gate(number: float = 0.0, rest: dict[str, Any] | None = None) -> Saved:
    state = GateState("g", "g.", 1, {"w": torch.full((2,), number)}, {"buffers": {}, **(rest or {})}, {})
    return Saved((state,), {}, {})


def test_the_first_version_is_number_one_and_whole(tmp_path: Path) -> None:
    version = train_and_save(tmp_path / "deep" / "run")
    assert version == tmp_path / "deep" / "run" / "v000001"
    names = [
        f"{n:02d}-{gate}{kind}.safetensors"
        for n, gate in enumerate(("stem", "body", "head"))
        for kind in ("", ".state")
    ]
    assert sorted(contents(version)) == sorted([*names, "manifest.json", "sentinels.safetensors"])


def test_only_the_last_three_versions_are_kept_and_numbers_go_on(tmp_path: Path) -> None:
    assert KEEP == 3
    for number in range(1, 6):
        assert write(one_gate(number), tmp_path).name == f"v{number:06d}"
        assert versions(tmp_path) == [f"v{n:06d}" for n in range(max(1, number - 2), number + 1)]
    assert read(tmp_path).weights["g.w"].tolist() == [5, 5]
    assert read(tmp_path / "v000004").weights["g.w"].tolist() == [4, 4]


def test_numbers_go_on_beyond_six_digits_and_after_gaps(tmp_path: Path) -> None:
    write(one_gate(), tmp_path).rename(tmp_path / "v999999")
    assert write(one_gate(7), tmp_path).name == "v1000000"
    assert write(one_gate(8), tmp_path).name == "v1000001"
    assert read(tmp_path).weights["g.w"].tolist() == [8, 8]


def test_nothing_unfinished_is_left_after_saves_during_training(tmp_path: Path) -> None:
    train_and_save(tmp_path, saves=4, in_flight=3)
    assert versions(tmp_path) == ["v000002", "v000003", "v000004"]
    can_be_resumed(tmp_path)


def test_what_a_writer_that_died_left_behind_goes_and_what_is_young_stays(tmp_path: Path) -> None:
    old, young, other = tmp_path / "v.0ld.tmp", tmp_path / "v.y0ung.tmp", tmp_path / "notes.tmp"
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "part.safetensors").write_bytes(b"half")
    for folder in (old, other):
        before = folder.stat().st_mtime - ABANDONED - 60
        os.utime(folder, (before, before))
    write(one_gate(), tmp_path)
    assert versions(tmp_path) == ["notes.tmp", "v.y0ung.tmp", "v000001"]


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    (tmp_path / "readme.txt").write_text("mine")
    for number in range(5):
        write(one_gate(number), tmp_path)
    assert versions(tmp_path) == ["readme.txt", "v000003", "v000004", "v000005", "video"]


def test_any_program_reads_the_weights_of_a_gate_by_the_names_of_its_module(tmp_path: Path) -> None:
    with launch(normed(), engine=stepped()) as network:
        network.attach(training())
        run_until(network, 5)
        network.detach("train")
        version, model = network.save(tmp_path), network.model()
    for number, (gate, module) in enumerate(zip(normed(), model, strict=True)):
        weights = load_file(version / f"{number:02d}-{gate.name}.safetensors")
        assert weights.keys() == gate.module.state_dict().keys()
        gate.module.load_state_dict(weights)
        for name, tensor in module.state_dict().items():
            assert torch.equal(weights[name], tensor), name


def test_the_manifest_says_what_was_saved(tmp_path: Path) -> None:
    version = train_and_save(tmp_path, batches=6)
    manifest = manifest_of(version)
    assert manifest["format"] == 1
    assert manifest["packages"] == packages()
    assert manifest["packages"].keys() == {"python", "akkordeon", "torch", "numpy"}
    assert [gate["name"] for gate in manifest["gates"]] == ["stem", "body", "head"]
    assert [gate["prefix"] for gate in manifest["gates"]] == ["stem.", "body.", "head."]
    assert len({gate["version"] for gate in manifest["gates"]}) == 1
    assert manifest["gates"][2]["kinds"]["optimizer"] == "SGD of 2 parameters"
    assert list(manifest["sentinels"]["positions"]) == ["train"]
    for name, file in manifest["files"].items():
        assert (version / name).stat().st_size == file["bytes"]
    assert manifest["files"].keys() == contents(version).keys() - {"manifest.json"}
    with safe_open(version / "00-stem.state.safetensors", "pt") as file:
        assert any("momentum_buffer" in name for name in file.keys())  # noqa: SIM118 - it is no dict


@pytest.mark.parametrize("name", ["a/b", "..", "größer als", "con:1", "a" * 300, "x\n", "../../up", "%2e"])
def test_a_gate_may_have_any_name(name: str, tmp_path: Path) -> None:
    name = name.strip()
    described = [Gate(name, nn.Linear(4, 3), partial(SGD, lr=0.1))]
    with launch(described, engine=stepped()) as network:
        version = network.save(tmp_path / "run")
    assert versions(tmp_path) == ["run"]
    assert len(contents(version)) == 4
    with launch(described, engine=stepped(), resume=tmp_path / "run") as network:
        assert network.status().gates[0].name == name


def test_gates_whose_names_begin_alike_have_files_of_their_own(tmp_path: Path) -> None:
    described = [Gate("g" * 100 + end, nn.Linear(4, 4), partial(SGD, lr=0.1)) for end in "ab"]
    with launch(described, engine=stepped()) as network:
        before = network.model().state_dict()
        network.save(tmp_path)
    after = ak.load(tmp_path, described).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_all_that_a_gate_keeps_comes_back_as_it_was(tmp_path: Path) -> None:
    rest = {
        "buffers": {"mask": torch.tensor([True, False])},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "exp": torch.ones(2).bfloat16()}}, "lr": float("inf")},
        "scheduler": {"milestones": {10: 1}, "last": (1, 2.5, None)},
    }
    mark = Mark(2, 0, ["its random generators", torch.get_rng_state()], exact=True, length=None)
    saved = Saved(one_gate(3, rest).gates, {"a/ b": Position(2, 5, mark, {"done": 5})}, {"python": "3"})
    write(saved, tmp_path)
    back = read(tmp_path)
    (gate,) = back.gates
    assert (gate.name, gate.prefix, gate.version, gate.kinds) == ("g", "g.", 1, {})
    assert gate.rest["scheduler"] == rest["scheduler"]
    assert gate.rest["optimizer"]["lr"] == float("inf")
    inner = gate.rest["optimizer"]["state"][0]
    assert inner["exp"].dtype == torch.bfloat16
    assert gate.rest["buffers"]["mask"].tolist() == [True, False]
    position = back.positions["a/ b"]
    assert (position.epoch, position.index, position.figures) == (2, 5, {"done": 5})
    assert torch.equal(position.mark.state[1], mark.state[1])
    assert back.packages == {"python": "3"}


def test_two_saves_of_the_same_are_the_same_bytes(tmp_path: Path) -> None:
    with launch(normed(), engine=stepped()) as network:
        one, other = network.save(tmp_path), network.save(tmp_path)
    assert contents(one) == contents(other)


def test_the_newest_version_that_is_whole_is_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train_and_save(tmp_path, saves=3)
    second = read(tmp_path / "v000002")
    (tmp_path / "v000003" / "00-stem.safetensors").unlink()
    with caplog.at_level(logging.WARNING):
        assert same_weights(read(tmp_path), second)
    assert "v000002 is used instead" in caplog.text
    assert "v000003: 00-stem.safetensors is missing" in caplog.text
    with launch(normed(), engine=stepped(), resume=tmp_path) as network:
        assert network.status().gates[0].version == second.gates[0].version
    with pytest.raises(CheckpointDamaged, match=r"damaged: .*v000003: 00-stem.safetensors is missing.*begin anew"):
        read(tmp_path / "v000003")  # asked for by name, no other will do


def test_where_nothing_is_saved_an_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointDamaged, match=r"there is no folder .*gone; name one"):
        read(tmp_path / "gone")
    with pytest.raises(CheckpointDamaged, match=r"nothing has been saved in .*no version such as v000001"):
        read(tmp_path)
    (tmp_path / "file").write_text("hello")
    with pytest.raises(CheckpointDamaged, match="nothing has been saved in"):
        read(tmp_path / "file")
    for path in ("gone", "file", "."):
        with pytest.raises(AkkordeonError):
            launch(gates(), engine=stepped(), resume=tmp_path / path)
        with pytest.raises(AkkordeonError):
            ak.load(tmp_path / path, gates())


def test_weights_are_exported_from_a_folder_without_a_network(tmp_path: Path) -> None:
    train_and_save(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "deep" / "weights.safetensors")
    weights = load_file(tmp_path / "deep" / "weights.safetensors")
    assert weights.keys() == read(tmp_path / "run").weights.keys()
    assert versions(tmp_path / "deep") == ["weights.safetensors"]


def test_an_export_replaces_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    for number in (1.0, 2.0):
        write_weights({"w": torch.full((3,), number).t()}, file)
    assert read_weights(file)["w"].tolist() == [2, 2, 2]
    assert versions(tmp_path) == ["w.safetensors"]


def test_weights_that_lie_crosswise_in_memory_are_saved(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    weights: dict[str, Tensor] = {"t": tensor.t(), "e": tensor[:1].expand(4, 3), "s": tensor[:, ::2]}
    write(Saved((GateState("g", "g.", 1, weights, {}, {}),), {}, {}), tmp_path)
    back = read(tmp_path).gates[0].weights
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_the_manifest_can_be_read_by_eye(tmp_path: Path) -> None:
    text = (train_and_save(tmp_path) / "manifest.json").read_text(encoding="utf-8")
    assert text.count("\n") > 20
    assert json.loads(text)["gates"][0]["name"] == "stem"
