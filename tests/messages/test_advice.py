"""How long computations take, and which gates are named because they compute too little."""

from functools import partial

import pytest
from torch import Tensor, nn
from torch.optim import SGD

from akkordeon import Gate, GateStatus, Histogram, Status, launch
from akkordeon.engines import Stepped
from akkordeon.gate.pace import QUARTILE_OF, Pace
from akkordeon.messages.advice import advice, to_merge
from tests.networks import gates, stepped, training, validation

MICRO = 1e-6


def status(**microseconds: float) -> list[GateStatus]:
    return [GateStatus(name, 9, 0, Histogram(), {}, seconds=each * MICRO) for name, each in microseconds.items()]


def names(found: list[GateStatus]) -> list[str]:
    return ["+".join(gate.name for gate in group) for group in to_merge(found)]


def test_gates_above_the_break_even_are_left_alone() -> None:
    assert to_merge(status(stem=120, body=5000, head=101)) == ()
    assert advice(status(stem=120, body=5000, head=101)) == ""


@pytest.mark.parametrize(
    ("chain", "merged"),
    [
        ({"stem": 300, "body": 30, "head": 10}, ["stem+body+head"]),
        ({"stem": 300, "body": 80, "head": 40}, ["body+head"]),
        ({"stem": 300, "body": 40, "head": 200}, ["body+head"]),
        ({"stem": 40, "body": 300}, ["stem+body"]),
        ({"a": 60, "b": 60, "c": 900, "d": 70, "e": 50}, ["a+b", "d+e"]),
    ],
)
def test_a_gate_below_it_goes_together_with_the_lesser_neighbour_until_none_is(
    chain: dict[str, float], merged: list[str]
) -> None:
    assert names(status(**chain)) == merged


def test_a_lone_gate_has_nobody_to_be_merged_with() -> None:
    assert to_merge(status(only=3)) == ()


def test_nothing_is_said_before_all_gates_have_computed_enough() -> None:
    assert to_merge(status(stem=20, body=0, head=10)) == ()


def test_the_advice_is_one_line_that_says_who_and_why() -> None:
    found = status(stem=300, body=31, head=9)
    assert Status("open", None, tuple(found), ()).advice == (
        "to go faster, merge gates 'stem', 'body' and 'head' into one: they compute 300, 31 and 9 us per message, "
        "and below 100 us a gate is not worth what it costs to hand messages on"
    )
    two = advice(status(a=60, b=60, c=900, d=70, e=50))
    assert "merge gates 'a' and 'b' into one, and gates 'd' and 'e' into one: they compute 60, 60, 70 and 50 us" in two


def test_pace_is_the_mean_of_the_lower_quartiles_of_the_latest_forwards_and_backwards() -> None:
    pace = Pace()
    for number in range(QUARTILE_OF - 1):
        pace.add("forward", 1.0 + number % 2 * 8)  # every second one waits for the interpreter lock
        pace.add("backward", 3.0 + number % 2 * 8)
    assert pace.seconds == 0.0
    pace.add("forward", 1000.0)
    pace.add("backward", 1000.0)
    assert pace.seconds == 2.0
    for _ in range(QUARTILE_OF):
        pace.add("forward", 5.0)
    assert pace.seconds == 4.0


class Slow(nn.Module):
    """A linear layer that takes its time on the virtual clock."""

    engine: Stepped

    def __init__(self, features: int, seconds: float) -> None:
        super().__init__()
        self.linear = nn.Linear(4, features)
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        Slow.engine.time += self.seconds if self.training else 1.0
        output: Tensor = self.linear(x)
        return output


def test_a_gate_tells_how_long_its_forwards_and_backwards_take_and_evaluations_do_not_count() -> None:
    Slow.engine = stepped()
    sgd = partial(SGD, lr=0.1)
    slow = [Gate("stem", Slow(4, 0.004), sgd), Gate("head", Slow(3, 0.002), sgd, activations="recomputed")]
    with launch(slow, engine=Slow.engine) as network:
        network.attach(training(epochs=60, in_flight=3, time_limit=1e6))
        list(network.watch())
        network.attach(validation(time_limit=1e6))
        list(network.watch())
        stem, head = network.status().gates
    assert stem.seconds == pytest.approx(0.002)  # of the forward and the backward, which takes no time here
    assert head.seconds == pytest.approx(0.002)  # the backward runs the forward again


def test_where_computations_take_no_time_nothing_is_known() -> None:
    with launch(gates(), engine=stepped()) as network:
        network.attach(training(epochs=60))
        list(network.watch())
        assert [gate.seconds for gate in network.status().gates] == [0.0, 0.0, 0.0]
        assert network.status().advice == ""
