"""A save that cannot be written fails as a whole: what was saved before is as it was, and training goes on."""

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from akkordeon import SaveFailed, launch
from akkordeon.saving import writing
from tests.networks import stepped, training
from tests.saving.saves import can_be_resumed, contents, done, engine_of, normed, run_until


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As a quota would have it: whoever writes more gets an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


class Killed(BaseException):
    """As where the process ends here: nobody catches it."""


NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full(number: int, error: BaseException = NO_SPACE) -> Callable[..., Any]:
    """A function that does what it is made for, but finds the disk full at this call and from then on."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        calls = 0

        def maybe(*arguments: Any, **settings: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= number:
                raise error
            return function(*arguments, **settings)

        return maybe

    return wrap


POINTS = {
    "save_file": range(1, 8),  # each of three gates has two files, the sentinels one
    "_sync": range(1, 9),
    "digest": (1, 7),
    "seal": (1,),
    "_rename": (1,),
    "sync_folder": (1,),
}


@pytest.mark.parametrize(("what", "number"), [(what, n) for what, numbers in POINTS.items() for n in numbers])
def test_a_disk_that_is_full_leaves_all_as_it_was(
    what: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with launch(normed(), engine=stepped()) as network:
        network.attach(training(in_flight=2))
        run_until(network, 5)
        network.save(tmp_path)
        before = contents(tmp_path)
        run_until(network, 8)
        with monkeypatch.context() as patched:
            patched.setattr(writing, what, full(number)(getattr(writing, what)))
            with pytest.raises(SaveFailed, match=r"could not be saved in .*: No space left on device"):
                network.save(tmp_path)
        assert contents(tmp_path) == before
        assert [path.name for path in tmp_path.iterdir()] == ["v000001"]
        run_until(network, done(network) + 5)  # training goes on
        assert network.save(tmp_path).name == "v000002"
    can_be_resumed(tmp_path)
    can_be_resumed(tmp_path / "v000001")


@pytest.mark.parametrize(("what", "number"), [("save_file", 1), ("save_file", 5), ("seal", 1), ("_rename", 1)])
def test_a_process_that_dies_while_it_saves_leaves_all_as_it_was(
    what: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with launch(normed(), engine=stepped()) as network:
        network.attach(training())
        run_until(network, 5)
        before = contents(network.save(tmp_path))
        with monkeypatch.context() as patched:
            patched.setattr(writing, what, full(number, Killed())(getattr(writing, what)))
            with pytest.raises(Killed):
                network.save(tmp_path)
    (rest,) = tmp_path.glob("v.*.tmp")
    assert contents(tmp_path / "v000001") == before
    can_be_resumed(tmp_path)
    with launch(normed(), engine=stepped(), resume=tmp_path) as network:
        assert network.save(tmp_path).name == "v000002"
    assert rest.exists()  # young, so it may be somebody's


def test_a_file_system_that_refuses_a_file_in_the_middle_leaves_all_as_it_was(tmp_path: Path) -> None:
    with launch(normed(), engine=stepped()) as network:
        network.save(tmp_path)
        before = contents(tmp_path)
        for size in (0, 100, 1000, 3000):
            with no_file_larger_than(size), pytest.raises(SaveFailed, match="the network could not be saved in"):
                network.save(tmp_path)
            assert contents(tmp_path) == before
            assert [path.name for path in tmp_path.iterdir()] == ["v000001"]
        assert network.save(tmp_path).name == "v000002"


def test_an_export_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.safetensors"
    with launch(normed(), engine=stepped()) as network:
        network.export(file)
        before = contents(tmp_path)
        for what in ("save_file", "_sync"):
            with monkeypatch.context() as patched:
                patched.setattr(writing, what, full(1)(getattr(writing, what)))
                with pytest.raises(SaveFailed, match=r"could not be written to .*w\.safetensors: No space left"):
                    network.export(file)
        with no_file_larger_than(100), pytest.raises(SaveFailed, match=r"could not be written to .*w\.safetensors"):
            network.export(file)
        assert contents(tmp_path) == before


def test_what_safetensors_raises_is_a_failed_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> None:
        raise SafetensorError("Error while serializing")

    monkeypatch.setattr(writing, "save_file", refuses)
    with launch(normed(), engine=stepped()) as network:
        with pytest.raises(SaveFailed, match="Error while serializing"):
            network.save(tmp_path)
        with pytest.raises(SaveFailed, match="Error while serializing"):
            network.export(tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/deep", "/proc/run"])
def test_where_no_folder_can_be_the_error_names_it(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with launch(normed(), engine=stepped()) as network:
        network.attach(training())
        with pytest.raises(SaveFailed, match=f"could not be saved in .*{place}"):
            network.save(tmp_path / place)
        run_until(network, 3)
    assert (tmp_path / "file").read_text() == "mine"


class Unsavable:
    """A loader whose state holds what no save can."""

    def __init__(self) -> None:
        self.index = 0

    def __iter__(self) -> Iterator[Any]:
        yield from training().data()

    def state_dict(self) -> dict[str, Any]:
        return {"seen": {1, 2}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise NotImplementedError


def test_a_loader_whose_state_cannot_be_saved_is_named_and_training_goes_on(tmp_path: Path) -> None:
    with launch(normed(), engine=stepped()) as network:
        described = training("train")
        network.attach(type(described)("train", Unsavable, torch.nn.functional.cross_entropy))
        run_until(network, 3)
        with pytest.raises(SaveFailed, match=r"train\.mark\.state\.1\.seen is a set, which cannot be saved"):
            network.save(tmp_path)
        assert list(tmp_path.iterdir()) == []
        run_until(network, 6)
        assert engine_of(network).find("sentinel train")
