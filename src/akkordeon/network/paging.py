"""Shows a running network on a page: hands its events to frames, and does what the page asks for."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from akkordeon.errors import WiringError
from akkordeon.messages.reports import Report
from akkordeon.network.events import Event
from akkordeon.views.frames import Frames

if TYPE_CHECKING:
    from akkordeon.views.server import Page


class Feed:
    """A sink that hands events to frames.

    Args:
        frames: gets them.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def write(self, event: Event) -> None:
        """Hand an event over."""
        self._frames.add([event.plain()])

    def close(self) -> None:
        """Do nothing: the page shows what was."""


def open_page(
    frames: Frames,
    past: Iterable[tuple[float, Report]],
    act: Callable[[Mapping[str, Any]], None] | None,
    *,
    host: str,
    port: int,
    token: str | None,
) -> "Page":
    """Serve a page that begins with past reports.

    Raises:
        WiringError: what it needs is not installed, or the port is taken.
    """
    try:
        from akkordeon.views.server import Page  # noqa: PLC0415 - an extra
    except ImportError:
        raise WiringError("the page needs starlette and uvicorn; install them: pip install 'akkordeon[page]'") from None
    frames.add(Event(0.0, report).plain() for _, report in past)
    try:
        return Page(frames, {}, host=host, port=port, token=token, act=act)
    except OSError as error:
        raise WiringError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
