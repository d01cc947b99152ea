"""Gates are put where they were wanted, and spread in the order of the chain where any host will do."""

from functools import partial

import pytest
from torch import nn
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.conductor.placement import Placement, lent


def chain(*widths: int) -> list[ak.Gate]:
    make = partial(SGD, lr=0.1)
    return [ak.Gate(f"g{number}", nn.Linear(width, 1), make) for number, width in enumerate(widths)]


def places(placement: Placement, gates: list[ak.Gate], *there: str) -> list[str | None]:
    return list(placement.places(gates, there).values())


def test_without_a_wish_gates_stay_where_the_network_is() -> None:
    assert places(Placement(), chain(1, 1), "A", "B") == [None, None]


def test_a_gate_goes_to_the_host_that_was_named() -> None:
    assert places(Placement({"g1": "B"}), chain(1, 1, 1), "A", "B") == [None, "host B", None]


def test_neighbours_are_together_and_no_host_has_much_more_to_do() -> None:
    spread = Placement(hosts=("A", "B"))
    assert places(spread, chain(1, 1, 1, 1), "A", "B") == ["host A", "host A", "host B", "host B"]
    assert places(spread, chain(99, 1, 1, 1), "A", "B") == ["host A", "host B", "host B", "host B"]


def test_declared_costs_come_before_the_number_of_weights() -> None:
    costs = {"g0": 1.0, "g1": 1.0, "g2": 1.0, "g3": 9.0}
    spread = Placement(hosts=("A", "B"), costs=costs)
    assert places(spread, chain(99, 1, 1, 1), "A", "B") == ["host A", "host A", "host A", "host B"]


def test_what_is_placed_by_hand_is_left_out_of_the_spreading() -> None:
    mixed = Placement({"g0": "C"}, hosts=("A", "B"))
    assert places(mixed, chain(1, 1, 1), "A", "B", "C") == ["host C", "host A", "host B"]


def test_a_gate_whose_host_is_gone_goes_where_others_are() -> None:
    mixed = Placement({"g0": "C"}, hosts=("A", "B"))
    assert places(mixed, chain(1, 1), "A", "B") == ["host A", "host B"]
    assert places(Placement({"g0": "C"}), chain(1, 1), "A") == [None, None]


def test_more_hosts_than_gates_leave_some_without() -> None:
    assert places(Placement(hosts=("A", "B", "C")), chain(1, 1), "A", "B", "C") == ["host A", "host B"]


def test_hosts_are_told_from_terminals() -> None:
    assert lent(("terminal 1", "host B", "host A")) == ["A", "B"]


@pytest.mark.parametrize("placement", [Placement({"tail": "A"}), Placement(costs={"tail": 1.0})])
def test_a_gate_that_there_is_not_is_refused(engine: Engine, placement: Placement) -> None:
    with pytest.raises(ak.WiringError, match=r"there is no gate 'tail' to be placed; there are: g0, g1"):
        ak.launch(chain(1, 1), engine=engine, placement=placement)


def test_a_host_that_does_not_join_is_named_with_what_to_do(engine: Engine) -> None:
    with pytest.raises(ak.WiringError, match=r"no host A has joined within 0\.1 s; there are: none\. On each, run"):
        ak.launch(chain(1, 1), engine=engine, placement=Placement({"g0": "A"}, wait=0.1))
