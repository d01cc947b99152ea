"""Data sets are fetched by name."""

import hashlib
from pathlib import Path

import pytest

from akkordeon import DataUnavailable
from akkordeon.datasets import DATASETS, Fetched, fetch, images, text
from akkordeon.datasets.sources import FileSet
from tests.datasets import made_up_mnist
from tests.datasets.made_up_mnist import TEST, TRAIN, file_set, write

FILES = made_up_mnist.files()


def test_all_data_sets_are_described() -> None:
    assert list(DATASETS) == ["mnist", "fashion-mnist", "digits", "shakespeare", "python"]
    assert all(DATASETS.values())


@pytest.mark.parametrize(("name", "constant"), [("mnist", "MNIST"), ("fashion-mnist", "FASHION_MNIST")])
def test_pictures_in_a_folder_are_found_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, constant: str
) -> None:
    monkeypatch.setattr(images, constant, file_set())
    folder = write(tmp_path / "mine", FILES)
    assert fetch(name, folder) == Fetched(name, folder, TRAIN + TEST, "pictures", "your folder")


def test_a_text_in_a_file_is_found_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"To be, or not to be" * 10
    made_up = FileSet("shakespeare", "tiny-shakespeare", {"input.txt": hashlib.sha256(content).hexdigest()}, ())
    monkeypatch.setattr(text, "SHAKESPEARE", made_up)
    file = write(tmp_path, {"play": content}) / "play"
    assert fetch("shakespeare", file) == Fetched("shakespeare", file, len(content), "characters", "your folder")


def test_what_comes_with_a_program_needs_no_folder() -> None:
    assert fetch("digits") == Fetched("digits", None, 1797, "pictures", "scikit-learn")
    assert fetch("python") == Fetched("python", None, 1_000_000, "characters", "the interpreter")
    with pytest.raises(ValueError, match="'digits' comes with scikit-learn, not in a folder; leave out mine"):
        fetch("digits", Path("mine"))


def test_what_was_fetched_is_in_the_cache_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(images, "MNIST", file_set())
    with pytest.raises(DataUnavailable, match="MNIST could not be fetched"):
        fetch("mnist")
    cache = write(tmp_path / "akkordeon" / "mnist", FILES)
    assert fetch("mnist") == Fetched("mnist", cache, TRAIN + TEST, "pictures", "the cache")


def test_a_name_that_there_is_not_is_refused_with_the_closest_and_all_others() -> None:
    with pytest.raises(ValueError, match=r"there is no data set 'minst'; did you mean 'mnist'\? There are: mnist, fas"):
        fetch("minst")
    with pytest.raises(ValueError, match=r"there is no data set 'imagenet'\. There are: mnist"):
        fetch("imagenet")


def test_the_real_data_sets_are_known_by_their_digests() -> None:
    for files in (images.MNIST, images.FASHION_MNIST, text.SHAKESPEARE):
        assert files.sources
        assert all(len(digest) == 64 and int(digest, 16) for digest in files.digests.values())
