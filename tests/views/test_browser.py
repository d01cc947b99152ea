"""The page in a real browser: it shows what happens, live and afterwards, and changes what it may."""

import json
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Threads
from akkordeon.views.following import followed
from akkordeon.views.frames import Frames
from akkordeon.views.server import Page
from tests.views import made_up
from tests.waiting import wait_until

TOKEN = "secret"  # noqa: S105 - of a test

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("SHOTS")
"""Folder for screenshots; none are kept where it is not set."""

SOON = 30.0
"""Seconds; a bound for what should take less than one."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1500"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver: Any = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture(autouse=True)
def _no_errors(browser: Any) -> Iterator[None]:
    browser.get_log("browser")
    yield
    logged = [each["message"] for each in browser.get_log("browser")]
    expected = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "status of 40")
    assert [text for text in logged if not any(each in text for each in expected)] == []


def text(browser: Any, id: str) -> str:  # noqa: A002 - as HTML calls it
    return str(browser.execute_script(f"return document.getElementById({id!r}).textContent"))


def shows(browser: Any, id: str, wanted: str) -> None:  # noqa: A002 - likewise
    wait_until(lambda: wanted in text(browser, id), SOON, f"{wanted!r} in #{id}")


def folder_of(path: Path, events: list[dict[str, Any]]) -> Path:
    with (path / "events.jsonl").open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    return path


def test_it_shows_a_run_and_scrubs_back_and_plays(browser: Any, tmp_path: Path) -> None:
    events = made_up.run(60, gates=3, sentinels=2)
    events.append({"t": 30.0, "event": "restart", "gate": "g1", "text": "gate 'g1' has ended: it raised"})
    events.sort(key=lambda event: float(event["t"]))
    with followed(folder_of(tmp_path, events)) as frames:
        page = Page(frames, {"recipe": "mine"})
        browser.get(page.url)
        shows(browser, "title", "akkordeon: mine")
        shows(browser, "clock", "0:59")
        shows(browser, "chain", "g2")
        shows(browser, "ticks", "it raised")
        assert len(browser.find_elements(By.CSS_SELECTOR, ".u-wrap")) == 7
        body = browser.find_element(By.TAG_NAME, "body")
        body.send_keys(Keys.HOME)
        shows(browser, "clock", "0:00")
        body.send_keys(Keys.ARROW_RIGHT)
        shows(browser, "clock", "0:00")
        browser.execute_script(
            "const s = document.getElementById('scrub'); s.value = 63; s.dispatchEvent(new Event('input'))"
        )
        shows(browser, "words", "gate 'g1' died and was restarted")
        body.send_keys(" ")
        shows(browser, "play", "stop")
        shows(browser, "clock", "0:59")
        shows(browser, "play", "play")
        browser.find_element(By.CSS_SELECTOR, "input[value=samples]").click()
        wait_until(lambda: "samples" in text(browser, "loss"), SOON, "the axis of samples")
        page.close()


def test_it_follows_a_run_that_goes_on_and_survives_a_restart_of_the_server(browser: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder_of(tmp_path, made_up.run(5, gates=2, sentinels=1))
    for number in (1, 2):
        with followed(tmp_path) as frames:
            page = Page(frames, {}, port=port)
            if number == 1:
                browser.get(page.url)
            shows(browser, "link", "connected")
            t = 10.0 * number
            news = {"t": t, "event": "set", "name": "g0", "settings": {"lr": number}}
            folder_of(tmp_path, [made_up.gate("g0", t), news])
            shows(browser, "ticks", f"g0: lr = {number}")
            shows(browser, "clock", f"0:{t:02.0f}")
            page.close()
        shows(browser, "link", "no connection")


def test_it_sets_a_learning_rate_with_the_token_and_not_without(browser: Any) -> None:
    gates = [ak.Gate("only", nn.Linear(2, 1), partial(SGD, lr=0.1))]
    with ak.launch(gates, engine=Threads(2)) as network:
        network.attach(ak.TrainingSentinel("train", lambda: [(torch.ones(1, 2), torch.ones(1, 1))], mse_loss))
        page = network.page(token=TOKEN)
        browser.get(page.url)
        shows(browser, "chain", "only")
        for token, said, rate in (("wrong", "the token is wrong", 0.1), ("secret", "done", 0.25)):
            for id, value in (("token", token), ("value", "0.25")):  # noqa: A001 - as HTML calls it
                field = browser.find_element(By.ID, id)
                field.clear()
                field.send_keys(value)
            browser.find_element(By.ID, "set").click()
            shows(browser, "answer", said)
            assert network.status().gates[0].learning_rate == rate
        shows(browser, "ticks", "only: lr = 0.25")
        shows(browser, "chain", "lr 0.250")
        for button, said in (("pause", "True"), ("go", "False")):
            browser.find_element(By.ID, button).click()
            shows(browser, "ticks", f"training: paused = {said}")
        assert network.attached() == ("train",)


def test_a_page_without_a_token_offers_no_changes(browser: Any) -> None:
    frames = Frames()
    frames.add(made_up.run(3, gates=1, sentinels=1))
    page = Page(frames, {})
    browser.get(page.url)
    shows(browser, "link", "connected")
    assert not browser.find_element(By.ID, "act").is_displayed()
    page.close()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_the_screen_in_light_and_dark(browser: Any, tmp_path: Path, width: int, theme: str) -> None:
    frames = Frames()
    frames.add(made_up.run(90, gates=4, sentinels=2))
    page = Page(frames, {"recipe": "made up"})
    metrics = {"width": width, "height": 1500, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.url)
    shows(browser, "link", "connected")
    script = "return document.documentElement.dataset.theme"
    if browser.execute_script(script) != theme:
        browser.find_element(By.ID, "theme").click()
    wait_until(lambda: browser.execute_script(script) == theme, SOON, theme)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    if SHOTS:
        wait_until(partial(_settled, browser), SOON, "a page that rests")
        browser.save_screenshot(f"{SHOTS}/{width}-{theme}.png")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.close()


def _settled(browser: Any) -> bool:
    frames = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done(true)))"
    return bool(browser.execute_async_script(frames))
