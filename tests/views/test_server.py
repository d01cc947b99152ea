"""The page serves those it should, and refuses all others by name."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Stepped, Threads
from akkordeon.errors import WiringError
from akkordeon.views.frames import Frames
from akkordeon.views.server import Page
from tests.views import made_up
from tests.waiting import wait_until

TOKEN = "secret"  # noqa: S105 - of a test


@contextmanager
def served(**settings: Any) -> Iterator[Page]:
    frames = Frames()
    frames.add(made_up.run(3, gates=2, sentinels=1))
    page = Page(frames, {"recipe": "mine"}, **settings)
    try:
        yield page
    finally:
        page.close()


def answer(url: str, body: object = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - it is ours
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - likewise
            return reply.status, reply.read().decode(), dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def test_the_page_and_its_frames_are_served_with_protecting_headers() -> None:
    with served() as page:
        status, text, headers = answer(page.url)
        assert status == 200
        assert "<title>akkordeon</title>" in text
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert not any(name.lower().startswith("access-control") for name in headers)
        found = json.loads(answer(page.url + "frames")[1])
        assert found["gates"] == ["g0", "g1"]
        assert found["about"] == {"recipe": "mine"}
        assert answer(page.url + "page/../../../errors.py")[0] == 404
        html = DisplayFormatter().format(  # type: ignore[no-untyped-call]
            page, include={"text/html"}
        )[0]["text/html"]  # as a notebook does
        assert f'src="{page.url}"' in html


def test_other_hosts_and_other_sites_are_refused() -> None:
    with served() as page:
        assert answer(page.url, Host="evil.example")[:2] == (421, "host 'evil.example' is not served here")
        status, text, _ = answer(page.url + "frames", Origin="http://evil.example")
        assert (status, text) == (403, "requests from http://evil.example are refused")
        other = page.url.rstrip("/").rpartition(":")[0] + ":1"
        assert answer(page.url + "do", {}, Origin=other)[0] == 403
        assert answer(page.url + "frames", Origin=page.url.rstrip("/"))[0] == 200


def test_nothing_can_be_changed_without_the_token() -> None:
    done: list[Any] = []
    wanted = {"do": "set", "name": "g0", "settings": {"lr": 0.5}}
    with served(act=done.append) as page:
        status, text, _ = answer(page.url + "do", wanted)
        assert status == 403
        assert "read-only" in text
    with served() as page:
        assert answer(page.url + "do", wanted)[0] == 409
    with served(act=done.append, token=TOKEN) as page:
        for wrong in ({}, {"Authorization": "Bearer other"}, {"Authorization": "secret"}):
            assert answer(page.url + "do", wanted, **wrong)[0] == 401
        assert answer(page.url + "do?token=secret", wanted)[0] == 401
        assert answer(page.url + "do", wanted, Authorization="Bearer secret")[0] == 200
        assert answer(page.url + "do", Authorization="Bearer secret")[0] == 405
    assert done == [wanted]


def test_a_page_of_a_network_sets_and_detaches_and_says_why_it_cannot() -> None:
    torch.manual_seed(0)
    gates = [ak.Gate("only", nn.Linear(2, 1), partial(SGD, lr=0.1))]
    with ak.launch(gates, engine=Threads(2)) as network:
        network.attach(ak.TrainingSentinel("train", lambda: [(torch.ones(1, 2), torch.ones(1, 1))], mse_loss))
        page = network.page(token=TOKEN)
        do = partial(answer, page.url + "do", Authorization="Bearer secret")
        assert do({"do": "set", "name": "only", "settings": {"lr": 0.5}})[0] == 200
        wait_until(lambda: network.status().gates[0].learning_rate == 0.5, 20.0, "the new learning rate")
        status, text, _ = do({"do": "set", "name": "only", "settings": {"speed": 1}})
        assert status == 400
        assert "speed" in text
        assert "not do" in do({"do": "stop"})[1]
        assert do({"do": "detach", "name": "train"})[0] == 200
        assert network.attached() == ()

        def shown() -> bool:
            ticks = json.loads(answer(page.url + "frames")[1])["ticks"]
            return [tick[1] for tick in ticks][-1:] == ["detach"]

        wait_until(shown, 20.0, "the news that it has left")
    with pytest.raises(urllib.error.URLError):
        answer(page.url)


def test_a_page_of_a_simulation_is_read_only() -> None:
    gates = [ak.Gate("only", nn.Linear(2, 1), partial(SGD, lr=0.1))]
    with ak.launch(gates, engine=Stepped(1)) as network:
        page = network.page(token=TOKEN)
        assert answer(page.url + "do", {}, Authorization="Bearer secret")[0] == 409
        network.attach(ak.TrainingSentinel("t", lambda: [(torch.ones(1, 2), torch.ones(1, 1))], mse_loss, epochs=3))
        assert len(list(network.watch())) == 3

        def shown() -> bool:
            return len(json.loads(answer(page.url + "frames")[1])["reports"]) == 3

        wait_until(shown, 20.0, "three reports on the page")


def test_a_port_that_is_taken_is_named() -> None:
    gates = [ak.Gate("only", nn.Linear(2, 1), partial(SGD, lr=0.1))]
    with socket.create_server(("127.0.0.1", 0)) as taken, ak.launch(gates, engine=Threads(1)) as network:
        port = taken.getsockname()[1]
        with pytest.raises(WiringError, match=f"cannot listen at 127.0.0.1, port {port}"):
            network.page(port=port)


def test_the_command_serves_a_run_without_torch(tmp_path: Path) -> None:
    with (tmp_path / "events.jsonl").open("w") as file:
        file.writelines(json.dumps(event) + "\n" for event in made_up.run(5, gates=1, sentinels=1))
    call = f"app(['page', {str(tmp_path)!r}, '--json'])"
    code = f"import sys; sys.modules['torch'] = None; from akkordeon.cli.app import app; {call}"
    with subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert answer(said["url"])[0] == 200
        process.terminate()
        assert process.wait(20) == 143
