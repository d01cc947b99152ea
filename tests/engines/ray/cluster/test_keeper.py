"""What is kept ends with its last user, and leaves nothing; here it is no Ray, but something harder to end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from akkordeon.engines import posix
from akkordeon.engines.ray.cluster.home import LOST, Home
from akkordeon.errors import NodeFailed
from tests.engines.ray.cluster.nodes import all_gone, is_alive, keepers, node_processes, own_place, wait_for
from tests.waiting import limit

STUBBORN = """
import pathlib, signal, subprocess, sys
for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(each, signal.SIG_IGN)
folder = pathlib.Path(sys.argv[1])
if len(sys.argv) == 2:
    subprocess.Popen([sys.executable, __file__, folder, "deeper"], start_new_session=True)
else:
    (folder / "is_up").touch()
signal.pause()
"""
"""Two processes, in sessions of their own, that heed no signal that can be ignored."""


@pytest.fixture
def place() -> Iterator[Path]:
    with own_place() as place:
        yield place


def enter() -> Home:
    return Home.enter("one", time.monotonic() + limit(20))


def keep(home: Home, *command: str) -> int:
    args = [sys.executable, "-m", "akkordeon.engines.ray.cluster.keeper", str(home.folder), *command]
    return subprocess.run(args, timeout=limit(20), check=False, stdout=subprocess.DEVNULL).returncode


def keep_stubborn(home: Home) -> None:
    script = home.folder.parent.parent / "stubborn.py"
    script.write_text(STUBBORN)
    assert keep(home, sys.executable, str(script), str(home.folder)) == 0
    assert wait_for((home.folder / "is_up").exists)


def is_taken_down(folder: Path) -> bool:
    handle = os.open(folder / "lock", os.O_RDWR)
    try:
        return not posix.lock(handle, shared=True)
    finally:
        os.close(handle)


def test_one_keeper_cleans_up_after_the_last_user(place: Path) -> None:
    first, second = enter(), enter()
    keep_stubborn(first)
    processes = node_processes(place)
    assert len(processes) == 4
    assert keep(second, "false") == LOST
    assert len(keepers(place)) == 2
    first.leave()
    assert second.is_current
    assert all(each.is_running() for each in processes)
    second.leave()
    assert all_gone(processes, place)


@pytest.mark.parametrize("which", [0, 1], ids=["outer", "inner"])
def test_all_ends_when_a_keeper_is_killed(place: Path, which: int) -> None:
    home = enter()
    keep_stubborn(home)
    processes = node_processes(place)
    keepers(place)[which].send_signal(signal.SIGKILL)
    assert all_gone(processes, place)
    assert not home.is_current
    home.leave()


def test_the_last_user_removes_the_files_of_killed_keepers(place: Path) -> None:
    home = enter()
    keep_stubborn(home)
    processes = node_processes(place)
    for keeper in keepers(place):
        keeper.suspend()
    for process in processes:
        process.kill()
    assert wait_for(lambda: not any(map(is_alive, processes)))
    assert home.is_current
    home.leave()
    assert not list(place.iterdir())


def test_the_next_keeper_removes_what_killed_ones_left(place: Path) -> None:
    other = Home.enter("other", time.monotonic() + limit(20))
    left = Home.enter("left", time.monotonic() + limit(20))
    for each in (left, other):
        each.temp_dir.mkdir()
        (each.temp_dir / "ray_current_cluster").touch()
    os.close(left.handle)  # as the kernel does for a process that is killed
    keep_stubborn(other)
    assert not other.is_ready
    assert wait_for(lambda: list(place.iterdir()) == [other.folder])
    processes = node_processes(place)
    other.leave()
    assert all_gone(processes, place)


def test_a_node_that_ends_leaves_its_place_to_the_next(place: Path) -> None:
    home = enter()
    assert keep(home, "true") == 0
    assert wait_for(lambda: not home.is_current)
    following = enter()
    assert following.is_current
    assert following.folder == home.folder
    home.leave()
    assert following.is_current
    following.leave()
    assert not list(place.iterdir())


def test_a_user_during_take_down_waits_for_a_fresh_place(place: Path) -> None:
    home = enter()
    keep_stubborn(home)
    processes = node_processes(place)
    home.leave()
    assert wait_for(lambda: is_taken_down(home.folder))
    following = enter()
    assert not (following.folder / "is_up").exists()
    assert not any(map(is_alive, processes[2:]))
    following.leave()
    assert all_gone(processes, place)


def test_a_folder_that_others_can_enter_is_not_used(place: Path) -> None:
    place.mkdir(mode=0o755)
    with pytest.raises(NodeFailed, match=rf"{place} must be a folder that only this user can enter"):
        enter()


def test_a_link_to_a_folder_is_not_used(place: Path) -> None:
    (place.parent / "there").mkdir(mode=0o700)
    os.symlink(place.parent / "there", place)
    with pytest.raises(NodeFailed, match="only this user can enter"):
        enter()
