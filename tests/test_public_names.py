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


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("checkpoint", "read"),
        ("cluster", "Address"),
        ("cutting", "split"),
        ("events", "Report"),
        ("histogram", "Histogram"),
        ("launching", "launch"),
        ("metrics", "accuracy"),
        ("modules", "DropConnect"),
        ("placement", "Placement"),
        ("restore", "load"),
        ("signals", "GateStatus"),
        ("supervision", "Supervision"),
    ],
)
def test_a_module_path_of_the_version_before_works_and_warns(old: str, name: str) -> None:
    sys.modules.pop(f"akkordeon.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"akkordeon.{old} has moved to akkordeon."):
        module = importlib.import_module(f"akkordeon.{old}")
    assert getattr(module, name) is getattr(akkordeon, name, getattr(module, name))


@pytest.mark.parametrize("name", ["gate.Gate", "network.Network", "sentinel.TrainingSentinel"])
def test_a_package_offers_the_class_that_its_module_of_the_version_before_held(name: str) -> None:
    package, name = name.split(".")
    assert getattr(importlib.import_module(f"akkordeon.{package}"), name) is getattr(akkordeon, name)


@pytest.mark.parametrize("name", akkordeon.__all__)
def test_every_public_name_is_described(name: str) -> None:
    assert getattr(akkordeon, name).__doc__
