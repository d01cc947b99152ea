"""The engine on Ray, for the suite that all engines keep.

A process takes seconds to begin, so all tests share one cluster, and all but those about `close` one engine (`shared`)
and the actors in it that no test ends (`cast`). After a test that failed there, the next one gets others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from akkordeon.actor import Actor, Engine, Inbox, Ref
from akkordeon.engines import Ray
from tests.conftest import make_stepped, make_threads, make_timed
from tests.engines.actors import Cast
from tests.sharing import Shared


class Borrowed:
    """An engine that others use as well: at the end of a test, what was spawned in it ends."""

    def __init__(self, engine: Ray) -> None:
        self._engine = engine
        self._spawned: list[Ref] = []
        self._inboxes: list[Inbox] = []
        self.address, self.places, self.computations = engine.address, engine.places, engine.computations
        self.find, self.watch, self.stop, self.look = engine.find, engine.watch, engine.stop, engine.look
        self.now, self.loses_messages = engine.now, engine.loses_messages

    def spawn(self, name: str, make: Callable[[], Actor], **settings: Any) -> Ref:
        self._spawned.append(self._engine.spawn(name, make, **settings))
        return self._spawned[-1]

    def inbox(self, name: str, then: Callable[[object], None] | None = None) -> Inbox:
        self._inboxes.append(self._engine.inbox(name, then))
        return self._inboxes[-1]

    def close(self) -> None:
        for ref in self._spawned:
            self._engine.stop(ref)
        for inbox in self._inboxes:
            inbox.close()


ENGINES = [
    pytest.param(make_threads, id="threads"),
    pytest.param(make_stepped, id="stepped"),
    pytest.param(make_timed, id="timed"),
    pytest.param(None, id="ray", marks=pytest.mark.timeout(120)),
]


@pytest.fixture(params=ENGINES)
def make_engine(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    make: Callable[[], Engine] | None = request.param
    return make or partial(Ray, request.getfixturevalue("cluster"), join=True, name="one of its own", spares=0, first=0)


@pytest.fixture
def engine(make_engine: Callable[[], Engine], request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = Borrowed(request.getfixturevalue("shared")) if isinstance(make_engine, partial) else make_engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def casts() -> Iterator[dict[Ray, Shared[Cast]]]:
    casts: dict[Ray, Shared[Cast]] = {}
    yield casts
    for each in casts.values():
        each.close()


@pytest.fixture
def cast(engine: Engine, casts: dict[Ray, Shared[Cast]], request: pytest.FixtureRequest) -> Iterator[Cast]:
    if not isinstance(engine, Borrowed):
        yield Cast(engine)
        return
    shared: Ray = request.getfixturevalue("shared")
    with casts.setdefault(shared, Shared(partial(cast_on, shared))).lend(request.node) as cast:
        yield cast


@contextmanager
def cast_on(shared: Ray) -> Iterator[Cast]:
    engine = Borrowed(shared)
    yield Cast(engine)
    engine.close()
