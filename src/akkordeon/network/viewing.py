"""Shows a running network to people: hooks, history, the page, figures."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from akkordeon.actor import Engine, Inbox, Ref
from akkordeon.conductor.requests import Roster
from akkordeon.engines import Stepped
from akkordeon.errors import WiringError
from akkordeon.messages.reports import Status
from akkordeon.network.events import Event
from akkordeon.network.history import History, past_reports
from akkordeon.network.paging import Feed, open_page
from akkordeon.network.recording import Recorder
from akkordeon.views.frames import Frames
from akkordeon.views.plotting import PlottedRun, plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from akkordeon.views.server import Page

ANSWER_TIMEOUT = 30.0
"""Seconds that gates, sentinels and the conductor have for an answer, which they give between two turns."""


class Viewed(ABC):
    """What people can look at, of a network."""

    engine: Engine
    conductor: Ref
    _recorder: Recorder | None
    _pages: "list[Page]"

    @abstractmethod
    def set(self, name: str, /, **settings: object) -> None:
        """Change settings of a sentinel or a gate."""

    @abstractmethod
    def detach(self, name: str, *, timeout: float = 60.0) -> None:
        """Let a sentinel leave."""

    @abstractmethod
    def pause(self, *, timeout: float = 60.0) -> None:
        """Let training stand still until `go_on`."""

    @abstractmethod
    def go_on(self) -> None:
        """Let training go on after `pause`."""

    @abstractmethod
    def status(self) -> Status:
        """Return the progress of all gates and sentinels."""

    @abstractmethod
    def _inbox(self) -> Inbox: ...

    @abstractmethod
    def _roster(self) -> Roster: ...

    @abstractmethod
    def _check_open(self) -> None: ...

    def on(self, kind: str, call: Callable[[Any], object]) -> None:
        """Call a function whenever something happens, from now on.

        It is called on a thread of its own, with one event after the other; what it raises is logged, and harms
        nothing. Where it takes too long, events are dropped and counted.

        Args:
            kind: "report", "attach", "detach", "window", "set", "save", "restart", "alarm", "failure" or "close"; or,
                every half second for each, "gate" and "sentinel".
            call: gets the record: a `Report`, a `GateStatus`, a `SentinelStatus` and so on.

        Raises:
            WiringError: there are no events of that kind.
        """
        self._recording().on(kind, call)

    def trace(self, batches: int) -> None:
        """Keep what is computed of the next training batches, when, and on which worker: see `launch(trace=...)`.

        Args:
            batches: trace until so many were through all gates and back.

        Raises:
            WiringError: there is no folder to keep it in, or it is to be less than one batch.
        """
        if batches < 1 or self._recorder is None:
            raise WiringError(f"trace({batches}) is to be at least 1 batch, and needs launch(run=...) to keep it in")
        self._recorder.trace(batches)

    def page(self, *, host: str = "127.0.0.1", port: int = 0, token: str | None = None) -> "Page":
        """Show the network on a page, from now on, until it is closed; needs the extra `page`.

        In a notebook, the returned page shows itself. It has `url` and `close()`.

        Args:
            host: address to listen at: by default, this machine alone can see it.
            port: likewise; 0 is any that is free.
            token: whoever has it may set settings, detach sentinels, pause and go on; None makes the page read-only.

        Raises:
            WiringError: what it needs is not installed, or the port is taken.
        """
        frames = Frames()
        with closing(self._inbox()) as inbox:
            past = list(past_reports(self.conductor, inbox, ANSWER_TIMEOUT))
        act = None if isinstance(self.engine, Stepped) else self._act  # that engine is not for several threads
        page = open_page(frames, past, act, host=host, port=port, token=token)
        self._recording().add(Feed(frames))
        self._pages.append(page)
        return page

    def plot(self) -> "Figure":
        """Return a figure of the reports so far, staleness, and where the time of gates goes; needs the extra `plot`.

        Raises:
            RunUnreadable: no epoch is over yet.
            WiringError: matplotlib is not installed.
        """
        with closing(self._inbox()) as inbox:
            reports = [Event(*each) for each in past_reports(self.conductor, inbox, ANSWER_TIMEOUT)]
        gates = [Event(0.0, each) for each in self.status().gates]
        return plot([PlottedRun("the network", (each.plain() for each in (*reports, *gates)))])

    def _act(self, wanted: Mapping[str, Any]) -> None:
        match wanted:
            case {"do": "set", "name": str(name), "settings": dict(settings)}:
                self.set(name, **settings)
            case {"do": "detach", "name": str(name)}:
                self.detach(name)
            case {"do": "pause"}:
                self.pause()
            case {"do": "go on"}:
                self.go_on()
            case _:
                raise WiringError(f"a page can set settings, detach a sentinel, pause and go on, and not do {wanted}")

    def _recording(self) -> Recorder:
        self._check_open()
        if self._recorder is None:
            self._recorder = Recorder(self.engine, self.conductor, after=self._roster().events)
        return self._recorder

    def history(self) -> History:
        """Return the reports so far, of the latest 10,000 events, as columns."""
        with closing(self._inbox()) as inbox:
            return History(past_reports(self.conductor, inbox, ANSWER_TIMEOUT))

    def _close_views(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        for page in self._pages:
            page.close()
