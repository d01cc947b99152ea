"""Which samples an option takes, and what a goal means."""

import itertools

import pytest
import typer

from akkordeon.cli.commands.run import RunCommand
from akkordeon.cli.values import Goal, part_of
from tests.system.command_line.calling import call


def options(*arguments: str) -> RunCommand:
    """Parse as `run` does."""
    app = typer.Typer(add_completion=False)
    app.command()(RunCommand)
    parsed = app(["mnist", *arguments], standalone_mode=False)
    assert isinstance(parsed, RunCommand)
    return parsed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], slice(None)),
        (["--take", "1000"], slice(1000)),
        (["--take", "5:9"], slice(5, 9)),
        (["--share", "1/3"], slice(0, None, 3)),
        (["--share", "2/3"], slice(1, None, 3)),
        (["--take", "1000", "--share", "2/3"], slice(1, 1000, 3)),
        (["--take", "5:9", "--share", "2/3"], slice(6, 9, 3)),
    ],
)
def test_take_and_share_make_a_slice(arguments: list[str], expected: slice) -> None:
    taken = options(*arguments).samples
    assert list(range(2000))[taken] == list(range(2000))[expected]
    assert (taken.stop, taken.step or 1) == (expected.stop, expected.step or 1)


@pytest.mark.parametrize("take", [slice(None), slice(17), slice(3, 19), slice(1, 20, 3)])
def test_shares_are_disjoint_and_make_up_the_whole(take: slice) -> None:
    data = list(range(23))
    shares = [data[part_of(take, (which, 4))] for which in (1, 2, 3, 4)]
    assert sorted(itertools.chain(*shares)) == data[take]


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("accuracy=0.97", Goal("accuracy", at_most=False, value=0.97)),
        ("loss=0.1", Goal("loss", at_most=True, value=0.1)),
        ("perplexity<=20", Goal("perplexity", at_most=True, value=20)),
        ("loss >= 1e3", Goal("loss", at_most=False, value=1000)),
    ],
)
def test_a_goal_is_at_least_or_at_most(text: str, goal: Goal) -> None:
    assert options("--until", text).until == goal


def test_settings_are_pairs_that_may_be_repeated() -> None:
    assert options("-o", "a=1", "--option", "b=x=y").settings == [("a", "1"), ("b", "x=y")]


def test_live_output_is_on_off_or_automatic() -> None:
    assert [options(*each).live for each in ([], ["--live"], ["--plain"])] == [None, True, False]


def test_debug_can_be_set_in_the_environment() -> None:
    result = call("run", "nosuch", environment={"AKKORDEON_DEBUG": "1"})
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: no recipe 'nosuch'")
    assert result.exit_code == 2
