"""`akkordeon page`: shows a run or a running network in a browser."""

import os
import secrets
import threading
import webbrowser
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from akkordeon.cli.options import SHOWN, AccessOptions, ReachOptions, refusal
from akkordeon.cli.output import Output
from akkordeon.cli.recording import RUNS
from akkordeon.errors import WiringError


class PageCommand(ReachOptions):
    """Show a run or a network in a browser.

    \b
    Examples:
      akkordeon page                                  the newest run under runs/
      akkordeon page runs/mnist-20261201-120000       a run that is over, or goes on
      akkordeon page --network 192.0.2.7:25520 --changes

    Scrub back in time, or play it again. The page is on this machine alone, and read-only;
    --changes prints a token; with it the page sets learning rates, detaches and pauses.
    """  # noqa: D301

    run_folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Folder of the run.", show_default="the newest in runs/")
    ] = None
    host: Annotated[str, SHOWN("IP", "Address to listen at; by default, only this machine sees it.")] = "127.0.0.1"
    port: Annotated[int, SHOWN("N", "Port to listen at; 0 is any that is free.", min=0, max=65535)] = 0
    changes: Annotated[bool, SHOWN(None, "Print a token; who has it may change the network.", "--changes")] = False
    browser: Annotated[bool, SHOWN(None, "Open it in the browser.", "--open")] = False

    def __post_init__(self) -> None:
        if self._of_network:
            super().__post_init__()
        else:
            AccessOptions.__post_init__(self)
            if self.changes:
                raise refusal("--changes", "needs --network: what a run has written cannot be changed")

    @property
    def _of_network(self) -> bool:
        return self.run_folder is None and (self.network is not None or self.ray_address is not None)

    def run(self, output: Output) -> None:
        """Serve the page until the user ends it, or the network is closed."""
        if find_spec("starlette") is None or find_spec("uvicorn") is None:
            raise WiringError("the page needs starlette and uvicorn; install them: pip install 'akkordeon[page]'")
        try:
            self._serve_network(output) if self._of_network else self._serve_folder(output)
        except OSError as error:
            raise WiringError(f"cannot listen at {self.host}, port {self.port}: {error.strerror or error}") from error

    def _serve_folder(self, output: Output) -> None:
        from akkordeon.views.following import followed  # noqa: PLC0415 - an extra
        from akkordeon.views.reading import newest_run, read_run  # noqa: PLC0415 - likewise
        from akkordeon.views.server import Page  # noqa: PLC0415 - likewise

        folder = self.run_folder or newest_run(Path(os.environ.get(RUNS, "runs")))
        with followed(folder) as timeline:
            page = Page(timeline, read_run(folder), host=self.host, port=self.port)
            try:
                self._tell(output, page.url, {"run": folder})
                threading.Event().wait()
            finally:
                page.close()

    def _serve_network(self, output: Output) -> None:
        from akkordeon.cli.remote import check_reach, joined  # noqa: PLC0415 - takes long

        check_reach(self)
        token = secrets.token_urlsafe(12) if self.changes else None
        with joined(self, output) as remote:
            page = remote.network.page(host=self.host, port=self.port, token=token)
            self._tell(output, page.url, {} if token is None else {"token": token})
            for _ in remote.watch():
                pass
            output.say(f"the network at {self.title} is closed")

    def _tell(self, output: Output, url: str, more: Mapping[str, Any]) -> None:
        output.tell(f"the page is at {url}, until Ctrl-C", "page", url=url, **more)
        for name, value in more.items():
            output.say(f"  {name}: {value}")
        if self.browser:
            webbrowser.open(url)
