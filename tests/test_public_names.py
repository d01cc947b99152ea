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
    with pytest.raises(AttributeError, match="module 'akkordeon' has no attribute 'nothing'"):
        akkordeon.nothing  # noqa: B018


def test_help_and_errors_about_options_come_without_torch() -> None:
    code = "import sys, akkordeon.cli.app; assert 'torch' not in sys.modules; print('light')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "light"


def test_modules_are_found() -> None:
    assert {"akkordeon.gate.description", "akkordeon.engines.simulation.engine", "akkordeon.cli.app"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_for(name: str) -> None:
    headline = (importlib.import_module(name).__doc__ or "").partition("\n")[0]
    assert headline
    assert headline.split()[0] not in ("What", "How", "Where", "Who", "Whether")


@pytest.mark.parametrize("name", akkordeon.__all__)
def test_every_public_name_is_described(name: str) -> None:
    assert getattr(akkordeon, name).__doc__
