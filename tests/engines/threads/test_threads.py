"""What only the threads engine promises: a fixed pool, no CPU when idle, torch's threads, and the debug mode."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from akkordeon.actor import Actor, Context, Ended, Ref, Urgent
from akkordeon.engines import Threads
from akkordeon.engines.pool import STUCK_CHECK
from akkordeon.engines.scaling import STANDBY
from akkordeon.errors import NoAnswer, SharedTensorWritten
from tests.engines.actors import Box, Forwarder
from tests.waiting import limit

SOON = limit(10.0)
"""Seconds; a bound for what should take milliseconds."""


class Worker(Actor):
    """Runs what it is told, beside itself."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        if not callable(message):
            return "here"
        context.compute(message, self.to.tell)
        return None


class Blocking(Actor):
    """Runs what it is told in its own turn, however long that takes."""

    def receive(self, message: object, context: Context) -> object:
        return message() if callable(message) else "here"


class Knock(Urgent):
    pass


class Stuck(Actor):
    """Computes until it is set free."""

    began, free = threading.Event(), threading.Event()

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        if isinstance(message, Knock):
            self.to.tell("knocked")
        elif message == "compute":
            context.compute(self.work, self.to.tell)
        return None

    def work(self) -> str:
        self.began.set()
        assert self.free.wait(SOON)
        return "done"


class PingPong(Actor):
    """Never comes to rest once it is told its peer."""

    def __init__(self) -> None:
        self.peer: Ref | None = None

    def receive(self, message: object, context: Context) -> object:
        if self.peer is None:
            self.peer = message  # type: ignore[assignment]
        else:
            self.peer.tell("again")
        return None


class BoxFlooder(Actor):
    """Sends more tensors than the debug mode keeps."""

    def __init__(self, to: Ref) -> None:
        self.to = to

    def receive(self, message: object, context: Context) -> object:
        for _ in range(100):
            self.to.tell(Box("other", torch.zeros(1)))
        return None


class Scribbler(Actor):
    """Writes into what it receives."""

    def receive(self, message: object, context: Context) -> object:
        assert isinstance(message, Box)
        message.tensor.add_(1)
        return None


@pytest.fixture
def engine() -> Iterator[Threads]:
    engine = Threads(2, debug=True)
    yield engine
    engine.close()


def begin_and_wait(began: threading.Event, release: threading.Event) -> bool:
    began.set()
    return release.wait(SOON)


def switches(threads: list[threading.Thread]) -> int:
    """How often these threads have gone to sleep so far."""
    total = 0
    for thread in threads:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        total += sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)
    return total


def test_an_idle_engine_never_wakes(engine: Threads) -> None:
    inbox = engine.inbox("inbox")
    ref = engine.spawn("worker", partial(Worker, inbox.ref))
    assert ref.ask("?", timeout=SOON) == "here"
    workers = [thread for thread in threading.enumerate() if thread.name.startswith("akkordeon")]
    with pytest.raises(NoAnswer):  # until the workers are asleep, and the clock has seen that nobody waits
        inbox.take(timeout=2 * STUCK_CHECK)
    before = switches(workers)
    with pytest.raises(NoAnswer):
        inbox.take(timeout=0.3)
    assert switches(workers) == before
    assert sum("worker" in thread.name for thread in workers) == 2 + STANDBY


def count_threads() -> int:
    """Count them without the clock's, which begins when something is due later, as a look whether workers hang."""
    return sum(thread.name != "akkordeon clock" for thread in threading.enumerate())


def test_a_hundred_actors_need_no_more_threads(engine: Threads) -> None:
    before = count_threads()
    inbox = engine.inbox("inbox")
    refs = [engine.spawn(f"actor {number}", partial(Forwarder, inbox.ref)) for number in range(100)]
    for ref in refs:
        ref.tell(ref.name)
    assert {inbox.take(timeout=SOON) for _ in refs} == {ref.name for ref in refs}
    assert count_threads() == before


def test_actors_compute_on_one_thread_of_torch_until_close() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    engine = Threads(2)
    inbox = engine.inbox("inbox")
    engine.spawn("worker", partial(Worker, inbox.ref)).tell(torch.get_num_threads)
    assert engine.spawn("loader", Blocking, blocking=True).ask(torch.get_num_threads, timeout=SOON) == 1
    assert inbox.take(timeout=SOON) == 1
    engine.close()
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def test_engines_that_close_in_any_order_give_torch_its_threads_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        first, second = Threads(1), Threads(1)
        first.close()
        assert torch.get_num_threads() == 1
        second.close()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_actor_that_blocks_holds_no_worker() -> None:
    engine = Threads(1)
    release = threading.Event()
    loader = engine.spawn("loader", Blocking, blocking=True)
    loader.tell(release.wait)
    assert engine.spawn("other", Blocking).ask("?", timeout=SOON) == "here"
    release.set()
    assert loader.ask("?", timeout=SOON) == "here"
    engine.close()


def test_computations_of_one_actor_overlap_and_end_in_order(engine: Threads) -> None:
    inbox = engine.inbox("inbox")
    worker = engine.spawn("worker", partial(Worker, inbox.ref), computations=2)
    second_began = threading.Event()
    worker.tell(lambda: "first" if second_began.wait(SOON) else "alone")
    worker.tell(partial(begin_and_wait, second_began, second_began))
    assert [inbox.take(timeout=SOON) for _ in range(2)] == ["first", True]


def test_an_actor_computes_beside_itself(engine: Threads) -> None:
    inbox = engine.inbox("inbox")
    release = threading.Event()
    worker = engine.spawn("worker", partial(Worker, inbox.ref))
    worker.tell(lambda: release.wait(SOON))
    assert worker.ask("?", timeout=SOON) == "here"
    release.set()
    assert inbox.take(timeout=SOON) is True


def test_two_actors_that_never_rest_do_not_starve_a_third_on_one_worker() -> None:
    engine = Threads(1)
    ping, pong = engine.spawn("ping", PingPong), engine.spawn("pong", PingPong)
    ping.tell(pong)
    pong.tell(ping)
    ping.tell("go")
    assert engine.spawn("third", Blocking).ask("?", timeout=SOON) == "here"
    engine.close()


def test_close_names_actors_that_do_not_end() -> None:
    engine = Threads(1, patience=0.05)
    inbox = engine.inbox("inbox")
    release, began = threading.Event(), threading.Event()
    engine.spawn("stuck", partial(Worker, inbox.ref)).tell(partial(begin_and_wait, began, release))
    assert began.wait(SOON)
    with pytest.warns(RuntimeWarning, match=r"left behind after 0\.05 s.*worker \d \(busy with stuck\)"):
        engine.close()
    release.set()


def test_an_unanswered_ask_says_what_the_workers_do() -> None:
    engine = Threads(1)
    release, began = threading.Event(), threading.Event()
    engine.spawn("busy", Blocking).tell(partial(begin_and_wait, began, release))
    assert began.wait(SOON)
    with pytest.raises(NoAnswer, match=r"other did not answer str within .* workers are busy with: busy"):
        engine.spawn("other", Blocking).ask("?", timeout=0.05)
    release.set()
    engine.close()


def test_a_sender_that_writes_into_what_it_sent_is_caught() -> None:
    engine = Threads(2, debug=True)
    inbox = engine.inbox("inbox")
    tensor = torch.zeros(3)
    inbox.ref.tell(Box("mine", tensor))
    tensor[1] = 5
    with pytest.raises(SharedTensorWritten, match=r"Box from outside to inbox: tensor 0 of shape \(3,\) was written"):
        engine.close()


def test_a_receiver_that_writes_into_what_it_received_is_caught() -> None:
    engine = Threads(2, debug=True)
    scribbler = engine.spawn("scribbler", Scribbler)
    tensors = [torch.zeros(2) for _ in range(3)]
    for tensor in tensors:
        scribbler.tell(Box("theirs", tensor))
    scribbler.ask(Box("last", torch.zeros(2)), timeout=SOON)
    with pytest.raises(SharedTensorWritten, match="to scribbler: tensor 0"):
        engine.close()


def test_a_write_is_caught_while_the_engine_runs_once_enough_was_sent() -> None:
    engine = Threads(2, debug=True)
    inbox = engine.inbox("inbox")
    flooder = engine.spawn("flooder", partial(BoxFlooder, inbox.ref))
    engine.watch(flooder, inbox.ref)
    tensor = torch.zeros(3)
    inbox.ref.tell(Box("mine", tensor))
    tensor.fill_(float("nan"))
    flooder.tell("go")
    seen = inbox.take(timeout=SOON)
    while not isinstance(seen, Ended):
        seen = inbox.take(timeout=SOON)
    assert isinstance(seen.reason, SharedTensorWritten)
    assert "Box from outside to inbox" in str(seen.reason)
    engine.close()


def test_nan_is_no_write_and_an_empty_tensor_no_problem() -> None:
    engine = Threads(2, debug=True)
    inbox = engine.inbox("inbox")
    sent: list[Tensor] = [torch.full((2,), float("nan")), torch.zeros(0), torch.tensor(True)]
    for tensor in sent:
        inbox.ref.tell(Box("some", tensor))
    assert len([inbox.take(timeout=SOON) for _ in sent]) == 3
    engine.close()
    assert sent[0].isnan().all()


def test_an_urgent_message_is_taken_while_a_computation_runs() -> None:
    engine = Threads(2)
    inbox = engine.inbox("inbox")
    seat = engine.spawn("stuck", lambda: Stuck(inbox.ref))
    seat.tell("compute")
    seat.tell("wait for me")
    assert Stuck.began.wait(SOON)
    seat.tell(Knock())
    assert inbox.take(timeout=SOON) == "knocked"
    assert "stuck: 1 messages waiting, 1 computations" in engine.look()
    assert "in work" in engine.look()  # the stack of the worker that computes
    Stuck.free.set()
    assert inbox.take(timeout=SOON) == "done"
    engine.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_others_take_their_turns_while_all_workers_hang(workers: int) -> None:
    engine = Threads(workers)
    release = threading.Event()
    for number in range(workers):
        began = threading.Event()
        engine.spawn(f"hangs {number}", Blocking).tell(partial(begin_and_wait, began, release))
        assert began.wait(SOON)
    assert engine.spawn("other", Blocking).ask("?", timeout=SOON) == "here"
    release.set()
    engine.close()
