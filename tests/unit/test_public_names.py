"""What the package offers is what it says it offers."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import akkordeon

MODULES = sorted(info.name for info in pkgutil.walk_packages(akkordeon.__path__, "akkordeon."))


def test_the_package_lists_exactly_the_names_it_offers() -> None:
    offered = {
        name
        for name, value in vars(akkordeon).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert offered | {"engines"} == set(akkordeon.__all__)
    assert len(akkordeon.__all__) == len(set(akkordeon.__all__))


def test_modules_are_found() -> None:
    assert {"akkordeon.gate", "akkordeon.engines.stepped", "akkordeon.cli.app"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_for_and_lists_names_that_it_has(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    if name != "akkordeon.recipes":  # a folder, with nothing of its own
        assert module.__all__
        assert [missing for missing in module.__all__ if not hasattr(module, missing)] == []
        assert not [private for private in module.__all__ if private.startswith("_")]


@pytest.mark.parametrize("name", akkordeon.__all__)
def test_every_public_name_is_described(name: str) -> None:
    assert getattr(akkordeon, name).__doc__
