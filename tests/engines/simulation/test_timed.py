"""What the simulation with delays promises: exact virtual times, order on each link, and the policy of the workers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import (
    Delays,
    Faults,
    Stepped,
    by_actor,
    constant,
    exponential,
    lognormal,
    normal,
    uniform,
)
from akkordeon.engines.simulation.delays import Delay, draws
from tests.engines.acting import Compute, Fragile, Later, Stage, Stop, Tell, Watch
from tests.engines.simulation import test_stepped

FIXED = Delays(link=1.0, turn=10.0, work=100.0)


def batches(num: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(num):
        yield torch.randn(3, 4, generator=generator), torch.randint(0, 2, (3,), generator=generator)


def train(seed: int, faults: Faults | None = None, workers: int | None = None) -> str:
    """Train two gates; return the digest of events, how often what went wrong, and the losses."""
    torch.manual_seed(5)
    gates = [
        ak.Gate("stem", nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.2)), partial(SGD, lr=0.1)),
        ak.Gate("head", nn.Linear(6, 2), partial(SGD, lr=0.1), computations=2),
    ]
    delays = Delays(link=lognormal(0.001, 1.0), turn=uniform(0.0, 1e-4), work=by_actor({"gate head": 0.01}, 0.001))
    engine = Stepped(seed, delays=delays, faults=faults, workers=workers)
    with ak.launch(gates, engine=engine) as network:
        for name in ("one", "two"):
            network.attach(ak.TrainingSentinel(name, partial(batches, 12), cross_entropy, in_flight=3, epochs=2))
        try:
            losses = [f"{report.loss:.9f}" for report in network.watch()]
        except ak.AkkordeonError as error:
            losses = [str(error)]
    return f"{engine.digest} {sorted(engine.injected.items())} {' '.join(losses)}"


STORM = Faults(duplicates=0.1, reordering=0.2, jumps=100.0, pauses=10.0, slow=0.5, seconds=(1e-3, 1e-2))


def train_each() -> str:
    timed = [train(7, faults, workers) for faults in (None, STORM) for workers in (None, 1, 2)]
    return "\n".join([test_stepped.run(7), *timed])


def test_a_seed_gives_the_same_events_in_another_process() -> None:
    """Also without delays: one process for both."""
    code = "from tests.engines.simulation.test_timed import train_each; print(train_each())"
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert out.stdout.strip() == train_each().strip()


def test_another_seed_gives_other_events() -> None:
    assert len({train(seed).split()[0] for seed in range(3)}) == 3


def test_a_chain_of_computations_takes_the_sum_of_its_delays() -> None:
    stage = Stage(Stepped(delays=FIXED))
    a, b = stage.puppet("a"), stage.puppet("b")
    stage.engine.run()
    began = stage.engine.time
    a.tell(Compute(b, Compute(a, "done")))
    stage.engine.run()
    # turn, work and turn at a; the link; turn, work and turn at b; the link
    assert stage.of("a").seen[-1] == (began + 2 * (10 + 100 + 10 + 1), "done")


def test_messages_of_a_turn_leave_at_its_end() -> None:
    stage = Stage(Stepped(delays=FIXED))
    a, b = stage.puppet("a"), stage.puppet("b")
    stage.engine.run()
    began = stage.engine.time
    a.tell(Tell(b, (1, 2)))
    stage.engine.run()
    assert [when - began for when, _ in stage.of("b").seen] == [11.0, 21.0]


def test_the_kinds_of_turns_are_types_of_messages() -> None:
    kinds = []

    def note(_random: object, name: str, kind: str) -> float:
        kinds.append((name, kind))
        return 0.001

    stage = Stage(Stepped(delays=Delays(turn=note, work=note)))
    stage.puppet("a").tell(Compute(stage.root, "done"))
    stage.engine.run()
    assert [kind for name, kind in kinds if name == "a"] == ["start", "Compute", "Compute", "Compute then"]
    assert [kind for name, kind in kinds if name == "root"] == ["start", "Spawn", "str"]


@pytest.mark.parametrize("link", [exponential(1.0), uniform(0.0, 5.0), 0.0])
def test_messages_of_one_sender_to_one_receiver_arrive_in_order(link: Delay | float) -> None:
    stage = Stage(Stepped(3, delays=Delays(link=link, turn=exponential(0.1))))
    a, b, c = (stage.puppet(name) for name in "abc")
    for number in range(100):
        a.tell(Tell(c, (("a", 2 * number), ("a", 2 * number + 1))))
        b.tell(Tell(c, (("b", number),)))
    stage.engine.run()
    told = [each for each in stage.told("c") if isinstance(each, tuple)]
    assert [number for who, number in told if who == "a"] == list(range(200))
    assert [number for who, number in told if who == "b"] == list(range(100))
    assert link == 0.0 or [who for who, _ in told] != sorted(who for who, _ in told)


def test_one_actor_takes_one_turn_at_a_time_and_computes_beside_it() -> None:
    stage = Stage(Stepped(delays=FIXED))
    a = stage.puppet("a")
    stage.engine.run()
    began = stage.engine.time
    a.tell(Compute(stage.root, "done"))
    a.tell("waits for the computation")
    stage.engine.run()
    assert [when - began for when, _ in stage.of("a").seen] == [0.0, 120.0]


@pytest.mark.parametrize(("workers", "last"), [(None, 120), (1, 240), (2, 120)])
def test_workers_share_the_time(workers: int | None, last: int) -> None:
    """Two actors compute; each takes 10 for its turn, 100 for the work and 10 for what follows."""
    stage = Stage(Stepped(delays=Delays(link=0.0, turn=10.0, work=100.0), workers=workers))
    inbox = stage.engine.inbox("inbox")
    refs = [stage.puppet(name) for name in "ab"]
    stage.engine.run()
    began = stage.engine.time
    for ref in refs:
        ref.tell(Compute(inbox.ref, ref.name))
    assert [inbox.take(timeout=1e3) for _ in refs] == ["a", "b"]
    assert stage.engine.time - began == last


def test_a_worker_computes_before_it_goes_on_with_what_it_made_ready() -> None:
    """As on the threads engine: what it kept is left to others, and waits where there are none."""
    stage = Stage(Stepped(delays=Delays(link=0.0, turn=1.0, work=100.0), workers=1))
    a, b = stage.puppet("a"), stage.puppet("b")
    stage.engine.run()
    began = stage.engine.time
    a.tell(Compute(b, "later"))
    a.tell(Tell(b, ("told",)))
    stage.engine.run()
    assert [when - began for when, _ in stage.of("b").seen] == [103.0, 104.0]
    assert stage.told("b") == ["later", "told"]


def test_a_blocking_actor_holds_no_worker() -> None:
    stage = Stage(Stepped(delays=Delays(link=0.0, turn=by_actor({"loader": 1000.0}, 1.0)), workers=1))
    loader, other = stage.puppet("loader", blocking=True), stage.puppet("other")
    stage.engine.run()
    began = stage.engine.time
    loader.tell("draw")
    other.tell("go on")
    stage.engine.run()
    assert stage.of("other").seen[-1][0] == began


def test_a_worker_that_sleeps_takes_a_while_to_wake() -> None:
    stage = Stage(Stepped(delays=Delays(link=0.0, wake=5.0), workers=1))
    a, b = stage.puppet("a"), stage.puppet("b")
    stage.engine.run()
    began = stage.engine.time
    a.tell(Tell(b, ("no need to wake for this one",)))
    stage.engine.run()
    assert stage.of("b").seen[-1][0] - began == 5.0


def test_two_that_never_rest_do_not_starve_a_third_on_one_worker() -> None:
    stage = Stage(Stepped(delays=Delays(link=0.0, turn=1.0), workers=1))
    a, b, third = (stage.puppet(name) for name in ("a", "b", "third"))
    thing: object = "end"
    for _ in range(50):
        thing = Tell(b, (Tell(a, (thing,)),))
    a.tell(thing)
    third.tell("also there")
    stage.engine.run()
    assert stage.times("turn", "third")[-1] < 30 < len(stage.of("a").seen)


def test_an_actor_that_may_block_lives_with_the_one_that_spawned_it() -> None:
    stage = Stage(Stepped(delays=FIXED, faults=Faults(loss=1.0)))
    stage.puppet("sentinel")
    provider = stage.puppet("provider", blocking=True, by="sentinel")
    sentinel = stage.engine.find("sentinel")
    stage.engine.run()
    began = stage.engine.time
    sentinel.tell(Tell(provider, ("draw",)))
    stage.engine.run()
    assert stage.of("provider").seen == [(began + 10, "draw")]


def test_messages_from_outside_and_to_oneself_take_no_time() -> None:
    stage = Stage(Stepped(delays=Delays(link=100.0), faults=Faults(loss=1.0)))
    inbox = stage.engine.inbox("inbox")
    stage.puppet("a").tell(Later(3.0, Tell(inbox.ref, ("rang",))))
    assert inbox.take(timeout=10.0) == "rang"
    assert stage.engine.time == 3.0


def test_an_answer_is_there_at_the_end_of_the_turn() -> None:
    stage = Stage(Stepped(delays=FIXED))
    a = stage.puppet("a")
    stage.engine.run()
    began = stage.engine.time
    a.ask("?", timeout=50.0)
    assert stage.engine.time == began + 10
    with pytest.raises(ak.NoAnswer, match="within 5 s"):
        a.ask("?", timeout=5.0)


def test_an_actor_that_fails_ends_when_its_turn_does() -> None:
    stage = Stage(Stepped(delays=FIXED))
    inbox = stage.engine.inbox("inbox")
    fragile = stage.puppet("fragile", Fragile)
    stage.engine.watch(fragile, inbox.ref)
    stage.engine.run()
    began = stage.engine.time
    fragile.tell(Tell(inbox.ref, ("said before",)))
    assert inbox.take(timeout=100.0) == "said before"
    assert isinstance(inbox.take(timeout=100.0).reason, ValueError)
    assert stage.engine.time == began + 10


def test_news_of_an_end_takes_the_time_of_the_link() -> None:
    stage = Stage(Stepped(delays=FIXED))
    a, b = stage.puppet("a"), stage.puppet("b")
    a.tell(Watch(b))
    stage.engine.run()
    began = stage.engine.time
    stage.root.tell(Stop(b))
    stage.engine.run()
    assert stage.ends("a") == [None]
    assert stage.of("a").seen[-1][0] == began + 1


def test_ctrl_c_reaches_the_waiting_caller_and_ends_no_actor() -> None:
    def interrupt(output: Tensor, target: Tensor) -> Tensor:
        raise KeyboardInterrupt

    engine = Stepped(delays=Delays(turn=0.01), workers=1)
    with ak.launch([ak.Gate("only", nn.Linear(4, 2), partial(SGD, lr=0.1))], engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", partial(batches, 2), interrupt))
        with pytest.raises(KeyboardInterrupt):
            list(network.watch())
        assert [sentinel.name for sentinel in network.status().sentinels] == ["train"]


def test_a_straggler_makes_gradients_of_the_others_stale() -> None:
    def staleness(work: Delay | float) -> float:
        make = partial(SGD, lr=0.1)
        gates = [ak.Gate("a", nn.Linear(4, 4), make), ak.Gate("b", nn.Linear(4, 2), make)]
        with ak.launch(gates, engine=Stepped(delays=Delays(work=work))) as network:
            network.attach(ak.TrainingSentinel("t", partial(batches, 50), cross_entropy, in_flight=4, epochs=1))
            list(network.watch())
            status: ak.GateStatus = network.status().gates[1]
            return status.staleness.mean

    assert staleness(by_actor({"gate b": 0.1}, 0.001)) > staleness(by_actor({"gate a": 0.1}, 0.001)) + 0.5


@pytest.mark.parametrize(
    ("delay", "mean", "deviation"),
    [
        (constant(0.5), 0.5, 0.0),
        (uniform(1.0, 2.0), 1.5, 12**-0.5),
        (exponential(0.3), 0.3, 0.3),
        (normal(2.0, 0.1), 2.0, 0.1),
        (lognormal(2.0, 0.5), 2.0, 2.0 * (2.718281828**0.25 - 1) ** 0.5),
        (by_actor({"a": 3.0}, otherwise=1.0), 3.0, 0.0),
    ],
)
def test_delays_are_distributed_as_they_say(delay: Delay, mean: float, deviation: float) -> None:
    draw = draws("test", delay, 1)
    drawn = torch.tensor([draw("a", "b") for _ in range(20_000)], dtype=torch.float64)
    assert float(drawn.mean()) == pytest.approx(mean, rel=0.03)
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.06, abs=1e-9)
    assert float(drawn.min()) >= 0


def test_a_normal_delay_is_never_negative() -> None:
    draw = draws("test", normal(0.0, 1.0), 1)
    assert min(draw("a", "b") for _ in range(100)) == 0.0


@pytest.mark.parametrize("name", ["link", "turn", "work", "wake"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_delay_that_is_no_time_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: a delay must be a number of seconds that is not negative"):
        Delays(**{name: value})


def test_a_function_that_draws_no_time_is_named() -> None:
    stage = Stage(Stepped(delays=Delays(turn=lambda *_: -1.0)))
    with pytest.raises(ValueError, match=r"must be a number of seconds, not -1\.0: turns of root, start"):
        stage.engine.run()


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        Stepped(workers=0)


def test_an_engine_names_its_living_actors() -> None:
    stage = Stage(Stepped(delays=Delays()))
    stage.engine.inbox("inbox")
    a = stage.puppet("a")
    stage.engine.run()
    assert [name for name, _ in stage.engine.actors()] == ["root", "a"]
    stage.engine.stop(a)
    assert stage.engine.actor("a") is None
    assert stage.engine.actor("inbox") is None
