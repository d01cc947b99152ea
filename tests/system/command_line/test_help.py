"""What the command line teaches, and that it does so at once: torch, which takes seconds, is not imported for it."""

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.system.command_line.calling import call
from tests.waiting import limit

SEVERAL = ["network", "sentinel", "host", "watch", "status", "detach", "set", "save", "close", "token", "tls"]

COMMANDS = ["run", "test", "data", "export", "doctor", "page", "plot", "trace", *SEVERAL]

PARTS = ["sentinel train", "sentinel validate", "sentinel test", "token new", "tls init"]

OPTIONS = re.findall(
    r"\S+",
    """--in-flight --epochs --seconds --until --validate-every --take --share --batch-size --lr --compensation
    --sentinels --seed --save --save-every --resume --weights --export --option -o --data --json --live --plain
    --workers --debug --time-limit --max-staleness --finish-synchronously""",
)

PROBE = """
import sys
from akkordeon.cli import main
try:
    main()
finally:
    print("torch" in sys.modules or "ray" in sys.modules, file=sys.stderr)
"""


def test_help_lists_the_commands() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert "actors" in result.output
    assert [
        command for command in COMMANDS if not re.search(rf"^  {command} +[A-Z]", result.output, re.MULTILINE)
    ] == []


def test_help_groups_commands_and_cuts_no_summary() -> None:
    output = call("--help", environment={"COLUMNS": "80"}).output
    assert re.findall(r"^(\S.*):$", output, re.MULTILINE) == [
        "Options",
        "Train here",
        "Train on several machines",
        "Look",
        "Manage",
    ]
    summaries = dict(re.findall(r"^  (\w+) +([A-Z].*)$", output[output.index("Train here:") :], re.MULTILINE))
    assert summaries.keys() == set(COMMANDS)
    assert [each for each in summaries.values() if len(each) > 45 or "..." in each] == []


@pytest.mark.parametrize("group", ["sentinel", "token", "tls"])
def test_help_on_a_group_cuts_no_summary(group: str) -> None:
    output = call(group, "--help", environment={"COLUMNS": "80"}).output
    assert "..." not in output.replace("[ARGS]...", "")


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("run", ["[default: (5, or the recipe's IN_FLIGHT)]", "[default: (10, or the recipe's EPOCHS); x>=1]"]),
        ("run", ["[default: (2, or the recipe's VALIDATE_EVERY); x>=0.1]", "[default: 30.0; x>=0.1]"]),
        ("network", ["[default: 127.0.0.1:25520]", "[default: network]", "[default: 20.0; x>=0.0]"]),
        ("sentinel train", ["[default: (until Ctrl-C); x>=1]", "[default: (detected)]"]),
    ],
)
def test_help_shows_defaults(command: str, shown: list[str]) -> None:
    output = " ".join(call(*command.split(), "--help").output.split())
    assert [each for each in shown if each not in output] == []


@pytest.mark.parametrize("command", COMMANDS + PARTS)
def test_help_on_a_command_says_what_it_does_with_two_examples(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert len(re.findall(rf"^ +(?:\w+=\S+ )?akkordeon {command}\b", result.output, re.MULTILINE)) >= 2


def test_help_on_run_shows_every_option() -> None:
    output = call("run", "--help").output
    assert [option for option in OPTIONS if option not in output] == []
    assert "1 is synchronous training" in output


def test_help_fits_a_terminal() -> None:
    output = call("run", "--help", environment={"COLUMNS": "80"}).output
    assert max(map(len, output.splitlines())) <= 80


def test_without_a_command_help_is_shown() -> None:
    result = call()
    assert "run" in result.output
    assert result.exit_code == 2


def test_version_prints_the_version() -> None:
    assert call("--version").output == f"akkordeon {version('akkordeon')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["run", "--in-flight", "0"],
        ["run", "nosuchrecipe"],
        ["run", "mnist", "--take", "x"],
        ["run", "mnist", "--resume", "nosuchfolder"],
        ["network", "mnist", "--place", "stem"],
        ["sentinel", "train", "nosuchrecipe", "--network", "127.0.0.1:25520"],
        ["sentinel", "train", "mnist", "--network", "127.0.0.1:1024"],
        ["status", "--network", "nowhere"],
    ],
)
def test_help_and_refusals_do_not_wait_for_torch(arguments: list[str]) -> None:
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit(30), check=False)
    assert done.returncode == (0 if arguments[-1] in ("--help", "--version") else 2)
    assert done.stderr.splitlines()[-1] == "False"
