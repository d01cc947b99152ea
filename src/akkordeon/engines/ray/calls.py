"""Calls of methods in other processes, repeated where Ray loses a call or its answer.

Ray then raises `ActorUnavailableError`, which does not mean that the process has ended. So a call may arrive twice, and
methods that are called from here must allow for that.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RaySystemError

from akkordeon.errors import ActorFailed

T = TypeVar("T")

Call = Callable[[], Any]
"""Calls a method of another process, and returns Ray's reference of its answer."""

REASONS = {
    "owner has died": "the process that started it has ended",
    "ray.kill": "its process was stopped",
    "worker process has died": "its process has died: killed, out of memory, or crashed in native code",
    "node": "its machine has left the network, or cannot be reached",
}
"""Parts of Ray's text on the end of a process, and what they mean."""


def answer(call: Call, who: str) -> Any:
    """Call until an answer comes.

    Args:
        call: makes the call.
        who: the process that is called, for the error.

    Raises:
        ActorFailed: the process that is called has ended.
    """
    while True:
        try:
            return ray.get(call())
        except ActorUnavailableError:
            continue  # Ray raises it after a second or two, so this does not spin
        except RayActorError as error:
            raise ActorFailed(f"{who} has ended: {why_ended(error)}") from None


def answers(
    calls: Mapping[T, Call], seconds: float, enough: Callable[[dict[T, Any]], bool] = lambda _: False
) -> dict[T, Any]:
    """Make many calls at once, and return the answers that come in time, or until `enough` says so."""
    came: dict[T, Any] = {}
    asked = {call(): name for name, call in calls.items()}
    deadline = time.monotonic() + seconds
    while asked and not enough(came) and (left := deadline - time.monotonic()) > 0:
        ready, _ = ray.wait(list(asked), timeout=left)
        for each in ready:
            name = asked.pop(each)
            try:
                came[name] = ray.get(each)
            except ActorUnavailableError:
                asked[calls[name]()] = name
            except RayError:
                continue  # it has ended in the meantime
    return came


def insist(call: Call) -> None:
    """Call until the call has arrived, or the process that is called has ended; does not wait for that."""
    call().future().add_done_callback(partial(_check, call))


def _check(call: Call, done: Any) -> None:
    if isinstance(done.exception(), ActorUnavailableError):
        after(0.0, partial(insist, call))  # Ray may not be called in the callback of one of its futures


def after(seconds: float, do: Callable[[], None]) -> None:
    """Do something later, in a thread of its own."""
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()


def kill(handle: Any) -> None:
    """End a process, unless this one is no longer connected to Ray: then Ray has ended it."""
    with suppress(RaySystemError):
        ray.kill(handle)


def why_ended(error: BaseException) -> str:
    """Return in a few words why a process has ended."""
    text = str(error)
    return next((words for sign, words in REASONS.items() if sign in text), text.splitlines()[0])
