"""Whether Ray can be used is said before anything is imported, with the way to get it."""

from importlib import metadata

import pytest

from akkordeon.engines.ray.cluster import check_ray, installed
from akkordeon.errors import NodeFailed


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(installed, "version", version)


def test_what_is_installed_here_works() -> None:
    assert check_ray() == metadata.version("ray")


@pytest.mark.parametrize("version", ["2.60.0", "2.61.0rc1", "2.100.3"])
def test_a_version_that_works(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, ray=version, h2="4", psutil="7")
    assert check_ray() == version


@pytest.mark.parametrize("version", ["2.59.1", "1.13.0", "3.0.0", "3.1", "nightly"])
def test_a_version_that_does_not_work(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    pretend(monkeypatch, ray=version, h2="4", psutil="7")
    with pytest.raises(
        NodeFailed, match=rf"Ray {version} .* 2\.60 or later, below 3: run pip install .akkordeon\[ray\]"
    ):
        check_ray()


def test_a_missing_requirement_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, psutil="7")
    with pytest.raises(NodeFailed, match=r'need ray and h2, .* pip install "akkordeon\[ray\]"'):
        check_ray()
