"""Calls between processes, of which Ray may lose any, or its answer: it says then that a process is not available.

That is no news of its end. Such calls are made again here, so whoever is called must not mind that.
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
"""Calls a method of another process, and returns Ray's reference of what it will answer."""

REASONS = {
    "owner has died": "the terminal that it came from has ended",
    "ray.kill": "its process was stopped",
    "worker process has died": "its process has died: killed, out of memory, or crashed in native code",
    "node": "its machine has left the network, or cannot be reached",
}
"""What Ray says of the end of a process, and what that means."""


def answer(call: Call, who: str) -> Any:
    """Call until an answer comes.

    Args:
        call: what to do.
        who: is called, for the error.

    Raises:
        ActorFailed: the process that is called has ended.
    """
    while True:
        try:
            return ray.get(call())
        except ActorUnavailableError:
            continue  # it takes Ray a second or two to find out, so this does not spin
        except RayActorError as error:
            raise ActorFailed(f"{who} has ended: {told(error)}") from None


def answers(
    calls: Mapping[T, Call], seconds: float, enough: Callable[[dict[T, Any]], bool] = lambda _: False
) -> dict[T, Any]:
    """Call many at once, and return what those answer who do in time, or until it is enough."""
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
    """Call until it is known to have arrived, or whoever is called has ended; does not wait for that."""
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
    """End a process, unless this one is no longer connected: then Ray has done so."""
    with suppress(RaySystemError):
        ray.kill(handle)


def told(error: BaseException) -> str:
    """Return in a few words why a process has ended."""
    text = str(error)
    return next((words for sign, words in REASONS.items() if sign in text), text.splitlines()[0])
