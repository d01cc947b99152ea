"""Processes that are killed, terminals and hosts that vanish, and what breaks in them.

One network goes through all of it, as long as no test fails: the next one then gets a new network. Its gates count how
often each batch was applied.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest

import akkordeon as ak
from akkordeon.engines import Ray
from tests.network.counting import applied, total, training
from tests.sharing import Shared
from tests.system.distributed.chain import (
    AT_ONCE,
    NAMES,
    endless_training,
    gates,
    kill,
    loader_that_raises,
    look,
    more,
    pair_after_two,
    process,
    soon,
    tell,
)
from tests.system.distributed.conftest import Driver, MakeEngine

pytestmark = pytest.mark.timeout(120)

EACH = 20_000
"""Batches of one training: more than there is time for."""

NUM = 2 * EACH + 4
"""Batches that are counted; one more number is there for those that are not."""

IN_FLIGHT = 4
"""Of the training whose batches count."""


@dataclass
class World:
    network: ak.Network
    engine: Ray
    host: Driver
    open_terminal: Callable[..., Driver]
    used: int = 0

    def take(self, num: int) -> int:
        """Return the first of so many numbers that no batch has had."""
        first, self.used = self.used, self.used + num
        return first


@pytest.fixture(scope="module")
def shared(make_engine: MakeEngine, open_terminal: Callable[..., Driver]) -> Iterator[Shared[World]]:
    shared = Shared(partial(make_world, make_engine, open_terminal))
    yield shared
    shared.close()


@pytest.fixture
def world(shared: Shared[World], request: pytest.FixtureRequest) -> Iterator[World]:
    with shared.lend(request.node) as world:
        yield world


@contextmanager
def make_world(make_engine: MakeEngine, open_terminal: Callable[..., Driver]) -> Iterator[World]:
    """A network with its second gate on a host that is another process."""
    engine = make_engine(1)
    host = open_terminal(engine, "host", "A")
    host.wait()
    placement = ak.Placement(fixed={"body": "A"})
    with ak.launch(gates(NUM + 1), engine=engine, supervision=AT_ONCE, placement=placement) as network:
        yield World(network, engine, host, open_terminal)
    host.kill()


def nothing_twice(network: ak.Network) -> None:
    assert all(count in (0, 1) for gate in applied(network, NAMES) for count in gate[:NUM])


def nothing_left(network: ak.Network) -> None:
    """No gate keeps anything of anybody."""
    soon(network, lambda: [gate.open for gate in look(network).gates] == [0, 0], "gates to forget")


def drain(network: ak.Network) -> list[ak.Report]:
    """Take what has been told so far, so that the next failure is that of the next test."""
    return list(network.watch())


def test_training_survives_kills_of_gates_and_applies_nothing_twice(world: World) -> None:
    network, first = world.network, world.take(EACH)
    network.attach(training("train", first, EACH, in_flight=IN_FLIGHT))
    for turn, gate in enumerate(("stem", "body", "stem"), start=1):
        more(network, "train", 10)
        kill(process(network, f"gate {gate}"))
        made_anew = soon(network, partial(_restarted, network, turn), "a restart")
        trained = more(network, "train", IN_FLIGHT + 1)  # one at least that was not on its way back already
        tell(f"kill -9 of {gate}", seconds_to_gate=made_anew, seconds_to_gradient=made_anew + trained)
    network.detach("train")
    (report,) = network.watch()
    counts = [gate[first : first + EACH] for gate in applied(network, NAMES)]
    assert set(report.skipped) <= {"poison", "lost"}
    assert all(count in (0, 1) for gate in counts for count in gate)
    assert max(report.samples - sum(gate) for gate in counts) <= 3 * IN_FLIGHT  # what was in flight at a kill
    nothing_left(network)


def _restarted(network: ak.Network, turn: int) -> bool:
    status = look(network)
    return status.restarts >= turn and len(status.gates) == len(NAMES)


def test_a_killed_sentinel_or_terminal_is_named_and_disturbs_no_other(world: World) -> None:
    network = world.network
    network.attach(endless_training("steady"))
    network.attach(endless_training("victim"))
    restarts = look(network).restarts
    more(network, "victim", 5)
    kill(process(network, "sentinel victim"))
    is_told(network, "a sentinel", r"sentinel victim failed: .*its process has died: killed")
    guest = world.open_terminal(world.engine, "attach", "guest")
    guest.wait()
    more(network, "guest", 5)
    guest.kill()
    is_told(network, "a terminal", r"sentinel guest failed: .*the process that started it has ended")
    more(network, "steady", 20)
    (steady,) = look(network).sentinels
    assert (steady.name, steady.resent, steady.dropped) == ("steady", 0, ())
    assert look(network).restarts == restarts
    network.detach("steady")
    nothing_left(network)


def is_told(network: ak.Network, what: str, expected: str) -> None:
    """Whoever watches is told of the end of what was killed."""
    killed = time.monotonic()
    with pytest.raises(ak.ActorFailed, match=expected):
        drain(network)
    tell(f"kill -9 of {what}", seconds_to_news=time.monotonic() - killed)


def test_an_exception_in_a_module_names_gate_batch_and_sentinel(world: World) -> None:
    data = partial(pair_after_two, world.take(2))
    world.network.attach(ak.TrainingSentinel("pairs", data, total, in_flight=1, epochs=1))
    expected = r"gate 'stem' .* batch 2 of sentinel 'pairs'.*KeyError: 'two at once'"
    with pytest.raises(ak.BatchRefused, match=expected) as caught:
        drain(world.network)
    assert isinstance(caught.value.__cause__, KeyError)
    nothing_left(world.network)


def test_an_exception_in_a_loader_names_sentinel_batch_and_file(world: World) -> None:
    data = partial(loader_that_raises, world.take(2))
    world.network.attach(ak.TrainingSentinel("reader", data, total, epochs=1))
    expected = r"sentinel 'reader': its loader raised after batch 2: FileNotFoundError: .*'words\.txt'"
    with pytest.raises(ak.SentinelFailed, match=expected) as caught:
        drain(world.network)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert caught.value.__cause__.filename == "words.txt"
    nothing_left(world.network)


def test_a_gate_whose_host_is_killed_restarts_elsewhere(world: World) -> None:
    network, first = world.network, world.take(EACH)
    restarts = look(network).restarts
    network.attach(training("last", first, EACH))
    more(network, "last", 20)
    world.host.kill()
    made_anew = soon(network, partial(_restarted, network, restarts + 1), "a restart")
    tell("kill -9 of a terminal that lends its host", seconds_to_gate=made_anew)
    more(network, "last", 20)
    assert [place for place in world.engine.places() if place.startswith("host ")] == []
    network.detach("last")
    (report,) = reports = [*network.watch()]
    assert report.samples > 20, reports
    nothing_twice(network)
    nothing_left(network)
