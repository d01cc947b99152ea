"""What the package offers is what it says it offers."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import akkordeon

MODULES = sorted(info.name for info in pkgutil.walk_packages(akkordeon.__path__, "akkordeon."))


def test_the_package_offers_exactly_the_names_it_lists() -> None:
    names = akkordeon.__all__
    assert [name for name in names if not hasattr(akkordeon, name)] == []
    assert dir(akkordeon) == sorted(set(names)) == sorted(names)
    homes = {name for names_there in akkordeon._HOMES.values() for name in names_there}
    assert homes | {"engines"} == set(names)
    with pytest.raises(AttributeError, match="module 'akkordeon' has no attribute 'nothing'"):
        akkordeon.nothing  # noqa: B018


def test_help_and_errors_about_options_come_without_torch() -> None:
    code = "import sys, akkordeon.cli.app; assert 'torch' not in sys.modules; print('light')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "light"


def test_modules_are_found() -> None:
    assert {"akkordeon.gate", "akkordeon.engines.stepped", "akkordeon.cli.app"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_for_and_lists_names_that_it_has(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    if name != "akkordeon.recipes":  # a folder with nothing of its own
        assert module.__all__
        assert [missing for missing in module.__all__ if not hasattr(module, missing)] == []
        assert not [private for private in module.__all__ if private.startswith("_")]


@pytest.mark.parametrize("name", akkordeon.__all__)
def test_every_public_name_is_described(name: str) -> None:
    assert getattr(akkordeon, name).__doc__
