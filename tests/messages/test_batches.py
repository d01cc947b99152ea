"""What a batch is known by while it travels."""

import pytest

from akkordeon.actor import Actor, Context, Ref
from akkordeon.engines import Stepped
from akkordeon.messages.batches import BatchId, Route


class Home(Actor):
    def receive(self, message: object, context: Context) -> object:
        return None


@pytest.fixture
def home() -> Ref:
    return Stepped().spawn("sentinel train", Home)


@pytest.fixture
def route(home: Ref) -> Route:
    return Route(BatchId("network-1", "train", 2, 17), attempt=1, term=1, low=15, home=home, size=64)


def test_the_home_of_a_batch_is_compared_as_an_address(home: Ref, route: Route) -> None:
    other = Stepped().spawn("sentinel train", Home)
    assert route.home == home != other
    assert len({home, route.home, other}) == 2


def test_a_batch_reads_as_number_and_sentinel(route: Route) -> None:
    assert str(route.batch) == "17 of sentinel 'train'"


def test_a_sentinel_that_comes_back_has_other_batches(route: Route) -> None:
    assert route.batch != route.batch._replace(incarnation=3)
