"""Serves the page of a run: files, frames, a stream of what is new, and changes for those who have the token.

On loopback unless told otherwise, and read-only without a token. `Host` and `Origin` are checked and no other site is
allowed in, so that no web site that is open in the same browser can read or change anything.
"""

import asyncio
import hmac
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from akkordeon.errors import AkkordeonError
from akkordeon.views.frames import Frames

PAGE_FILES = Path(__file__).parent / "page"

LOOK_EVERY = 0.2
"""Seconds between two looks for something new to send."""

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self' http://localhost:* http://127.0.0.1:*",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Act = Callable[[Mapping[str, Any]], None]
"""Does what the page asks for, such as {"do": "set", "name": "stem", "settings": {"lr": 0.1}}."""


class Page:
    """A page that is being served, on a thread of its own.

    Args:
        frames: what it shows.
        about: what the run was.
        host: address to listen at.
        port: likewise; 0 is any that is free.
        token: that allows changes; None allows none.
        act: makes changes; None where nothing can be changed.

    Attributes:
        url: where it is.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self,
        frames: Frames,
        about: Mapping[str, Any],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        act: Act | None = None,
    ) -> None:
        self._socket = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._socket.getsockname()[1]}/"
        settings = uvicorn.Config(
            make_app(frames, about, host=host, token=token, act=act, over=lambda: self._server.should_exit),
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._serve, name="akkordeon page", daemon=True)
        self._thread.start()

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.url}" width="100%" height="720" style="border:0"></iframe>'

    def close(self) -> None:
        """Serve no more."""
        self._server.should_exit = True
        self._thread.join(5.0)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def make_app(
    frames: Frames,
    about: Mapping[str, Any],
    *,
    host: str,
    token: str | None = None,
    act: Act | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Starlette:
    """Return the application; arguments as those of `Page`, and `over`, whether it is to serve no more."""

    async def everything(_: Request) -> Response:
        found = {**frames.all(), "about": about, "acts": act is not None and token is not None}
        return Response(json.dumps(found), media_type="application/json")

    async def events(request: Request) -> Response:
        mark = [int(each) for each in request.query_params.get("mark", "0,0,0").split(",")]
        return StreamingResponse(_news(frames, mark, over), media_type="text/event-stream")

    async def do(request: Request) -> Response:
        if act is None:
            return _refusal(409, "this page shows what a run has written: nothing can be changed here")
        if token is None:
            return _refusal(403, "this page is read-only: it was started without a token")
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {token}".encode()):
            return _refusal(401, "the token is wrong or missing")
        try:
            await run_in_threadpool(act, json.loads(await request.body()))
        except (AkkordeonError, ValueError, KeyError, TypeError, AttributeError) as error:
            return _refusal(400, str(error))
        return JSONResponse({})

    async def index(_: Request) -> Response:
        return FileResponse(PAGE_FILES / "index.html")

    routes = [
        Route("/", index),
        Route("/frames", everything),
        Route("/events", events),
        Route("/do", do, methods=["POST"]),
        Mount("/page", StaticFiles(directory=PAGE_FILES)),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(_Guard, host=host)
    return app


class _Guard:
    """Turns away what comes through another name than ours, or from another site.

    Args:
        app: gets the rest; protecting headers are added to its answers.
        host: that the page is served at.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = {host, *LOCAL_NAMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer: ASGIApp = self._app
        if urlsplit(f"//{host}").hostname not in self._names:
            answer = PlainTextResponse(f"host {host!r} is not served here", 421)
        elif origin is not None and urlsplit(origin).netloc != host:
            answer = PlainTextResponse(f"requests from {origin} are refused", 403)
        await answer(scope, receive, sent)


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)


async def _news(frames: Frames, mark: list[int], over: Callable[[], bool]) -> AsyncIterator[str]:
    """Yield what is new, and now and then nothing, so that a reader who has gone is noticed."""
    quiet = 0.0
    while not over():
        if frames.count != mark[0]:
            found = frames.since(mark)
            mark, quiet = found["mark"], 0.0
            yield f"data: {json.dumps(found)}\n\n"
        elif (quiet := quiet + LOOK_EVERY) > 10.0:
            quiet = 0.0
            yield ": still there\n\n"
        await asyncio.sleep(LOOK_EVERY)
