"""The example types its lines on the right hosts, shows what comes of them, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.three_hosts import SCENARIO, TOKEN, Line, Play
from tests.system.hosts import Hosts, wait_until

pytestmark = pytest.mark.hosts

EXAMPLE = Path(__file__).parents[3] / "examples" / "three_hosts.sh"


def test_a_dry_run_shows_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    shown = subprocess.run([EXAMPLE, "--dry"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split("  #")[0] for line in shown[1:]] == [f"host{line.host}$ {line.text}" for line in SCENARIO]


def test_lines_are_played_and_all_leave(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    play = Play(hosts)
    stay = f"sh -c 'trap \"echo leaving; kill \\$!; exit 130\" INT; cat {TOKEN}; tail -f /dev/null & wait'"
    play.type(Line(1, f"sh -c 'mkdir -p {Path(TOKEN).parent}; echo secret > {TOKEN}'", "until its token is everywhere"))
    play.type(Line(2, stay))
    wait_until(lambda: any(each.command == "tail -f /dev/null" for each in hosts[1].processes()), 20, "what stays")
    play.type(Line(3, f"sh -c 'stat -c %a {TOKEN}'", "for its end, when all began"))
    play.leave()
    assert sorted(capsys.readouterr().out.splitlines(), key=lambda line: line[:5]) == [
        "host2 | secret",
        f"host2^C ({stay})",
        "host2 | leaving",
        "host3 | 600",
        "no process remains on any host",
    ]


def test_a_line_that_fails_ends_the_play(hosts: Hosts) -> None:
    play = Play(hosts)
    play.type(Line(2, "sh -c 'exit 3'", "for its end, when all began"))
    with pytest.raises(SystemExit, match=r"host2\$ sh -c 'exit 3'\nended with exit code 3"):
        play.leave()
