"""Messages take themselves apart for a wire and are put together again as they were."""

from typing import Any

import pytest
import torch

from akkordeon.actor import Actor, Context, Parcel, Ref
from akkordeon.engines import Stepped
from akkordeon.messages.batches import Backward, BatchId, Forward, Route, Validate


class Home(Actor):
    def receive(self, message: object, context: Context) -> object:
        return None


@pytest.fixture
def home() -> Ref:
    return Stepped().spawn("sentinel train", Home)


@pytest.fixture
def route(home: Ref) -> Route:
    return Route(BatchId("network-1", "train", 2, 17), attempt=1, term=1, low=15, home=home, size=64)


@pytest.mark.parametrize("kind", [Forward, Validate])
def test_what_goes_onward_comes_out_as_it_went_in(kind: type[Forward | Validate], route: Route) -> None:
    words, mask = torch.randint(9, (2, 3)), torch.ones(2, 3, dtype=torch.bool)
    header, tensors = kind(route, {"words": words, "more": (mask, None, "causal")}).pack()
    again = kind.unpack(header, tensors)
    assert type(again) is kind
    assert again.route == route
    assert again.x["words"] is words
    assert again.x["more"][0] is mask
    assert again.x["more"][1:] == (None, "causal")


def test_a_single_tensor_goes_onward_as_itself(route: Route) -> None:
    x = torch.randn(4, 2)
    assert Forward.unpack(*Forward(route, x).pack()).x is x


@pytest.mark.parametrize("missing", [(), (0,), (1,), (0, 2), (0, 1, 2)])
def test_gradients_keep_their_places_where_some_are_missing(route: Route, missing: tuple[int, ...]) -> None:
    gradients = tuple(None if index in missing else torch.full((2,), float(index)) for index in range(3))
    header, tensors = Backward(route, gradients, (0, "nothing to learn", 3)).pack()
    assert len(tensors) == 3 - len(missing)
    again = Backward.unpack(header, tensors)
    assert again.route == route
    assert again.trail == (0, "nothing to learn", 3)
    assert all(a is b for a, b in zip(again.gradients, gradients, strict=True))


def test_a_batch_without_gradients_travels_without_tensors(route: Route) -> None:
    header, tensors = Backward(route, ()).pack()
    assert tensors == []
    assert Backward.unpack(header, tensors) == Backward(route, ())


def test_a_header_holds_only_plain_values_and_refs(route: Route) -> None:
    def check(value: Any) -> None:
        if isinstance(value, tuple):
            for inside in value:
                check(inside)
        else:
            assert value is None or value == route.home or isinstance(value, bool | int | float | str), value

    tree = {"a": torch.ones(1), "b": [torch.ones(2), 1.5]}
    for message in (
        Forward(route, tree),
        Validate(route, tree),
        Backward(route, (None, torch.ones(1)), (1, "skipped")),
    ):
        assert isinstance(message, Parcel)
        check(message.pack()[0])


def test_the_home_of_a_batch_is_compared_as_an_address(home: Ref, route: Route) -> None:
    other = Stepped().spawn("sentinel train", Home)
    again = Forward.unpack(*Forward(route, torch.ones(1)).pack())
    assert again.route.home == home != other
    assert len({home, again.route.home, other}) == 2


def test_a_batch_reads_as_number_and_sentinel(route: Route) -> None:
    assert str(route.batch) == "17 of sentinel 'train'"


def test_a_sentinel_that_comes_back_has_other_batches(route: Route) -> None:
    assert route.batch != route.batch._replace(incarnation=3)
