"""Waiting for a condition ends with the time limit, on the clock of the engine."""

import threading
from collections.abc import Callable

import pytest

from akkordeon.actor import Engine
from akkordeon.engines import Threads
from akkordeon.network.waiting import wait_until


def test_a_condition_that_holds_is_returned(engine: Engine) -> None:
    answers = iter([None, None, "yes"])
    assert wait_until(engine, lambda: next(answers), seconds=10.0, pause=0.01) == "yes"


def test_time_passes_on_the_clock_of_the_engine(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    before = engine.now()
    assert wait_until(engine, lambda: None, seconds=0.1, pause=0.01) is None
    assert engine.now() - before == pytest.approx(0.1, rel=0.2, abs=0.05)
    engine.close()


def test_the_time_that_a_slow_condition_takes_counts() -> None:
    calls = []

    def slow() -> None:
        calls.append(threading.Event().wait(0.05))

    engine = Threads(1)
    assert wait_until(engine, slow, seconds=0.1, pause=0.001) is None
    assert len(calls) <= 3
    engine.close()
