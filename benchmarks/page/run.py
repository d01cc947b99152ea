"""Measures the page: a run of an hour with 8 gates and 16 sentinels, 20 MB of events, in headless Chromium.

Needs the extras `page` and `dev`, chromium and chromedriver.

Examples:
  python -m benchmarks.page    # a minute on a quiet machine; writes results.json and table.md
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD

import akkordeon as ak
from akkordeon.engines import Threads
from benchmarks.common.claims import parser, table, write_results, write_table
from tests.views import made_up

HERE, PACKAGE = Path(__file__).parent, "benchmarks.page"

TRIES = 5

OPEN = """
import json, sys, time
def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096
from pathlib import Path
from akkordeon.views.following import followed
from akkordeon.views.server import Page
before, began = resident(), time.perf_counter()
with followed(Path(sys.argv[1])) as frames:
    page = Page(frames, {})
    opened = time.perf_counter() - began
    print(json.dumps({'url': page.url, 'opened': opened, 'torch': 'torch' in sys.modules}), flush=True)
    sys.stdin.readline()
    print(json.dumps({'megabytes': (resident() - before) / 1e6}), flush=True)
    page.close()
"""
"""A process that serves a run, and says what that took."""

SCRUB = """
const [done] = arguments, s = document.getElementById('scrub'), count = 200, began = performance.now();
let n = 0;
function next() {
  if (n === count) { done((1000 * count) / (performance.now() - began)); return; }
  s.value = Math.round((s.max * n++) / count);
  s.dispatchEvent(new Event('input'));
  requestAnimationFrame(() => requestAnimationFrame(next));
}
next();
"""
"""Moves the slider over the whole run; each step is drawn before the next. Two frames of the screen are waited for, so
that what the first one draws is done."""

SEEN = """
const [wanted, done] = arguments;
const ticks = document.getElementById('ticks');
const look = () => ticks.textContent.includes(wanted) ? done(Date.now()) : setTimeout(look, 5);
look();
"""
"""Waits until what has happened is on the page."""

DRAWN = """
const [done] = arguments, look = () => document.body.dataset.frame ? done(1) : setTimeout(look, 5);
look();
"""


def browser() -> Any:
    """Start Chromium."""
    options = webdriver.ChromeOptions()
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1500"):
        options.add_argument(each)
    driver: Any = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    driver.set_script_timeout(60)
    return driver


def hour(driver: Any, folder: Path) -> dict[str, float]:
    """Open a run of an hour, and scrub through it."""
    events = made_up.run(3600, gates=8, sentinels=16, every=2.0)
    with (folder / "events.jsonl").open("w") as file:
        file.writelines(json.dumps(each, separators=(",", ":")) + "\n" for each in events)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OPEN, str(folder)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        began = time.perf_counter()
        driver.get(said["url"])
        driver.execute_async_script(DRAWN)
        shown = time.perf_counter() - began
        frames = driver.execute_async_script(SCRUB)
        driver.execute_cdp_cmd("Performance.enable", {})
        driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        heap = next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize") / 1e6
        process.stdin.write("\n")
        process.stdin.flush()
        memory = json.loads(process.stdout.readline())["megabytes"]
    return {
        "MB of events": (folder / "events.jsonl").stat().st_size / 1e6,
        "seconds to open": said["opened"],
        "torch imported": said["torch"],
        "seconds until it is drawn": shown,
        "frames per second, scrubbing": frames,
        "MB of script heap": heap,
        "MB that the process grew by": memory,
    }


def live(driver: Any) -> dict[str, float]:
    """Follow a network that trains: how long the page takes to start, and an event to be seen."""
    torch.manual_seed(0)
    gates = [ak.Gate(name, nn.Linear(64, 64), partial(SGD, lr=0.001)) for name in "abc"]
    data = [(torch.randn(64, 64), torch.randn(64, 64))] * 100
    late: list[float] = []
    with ak.launch(gates, engine=Threads(2)) as network:
        network.attach(ak.TrainingSentinel("train", lambda: data, mse_loss, in_flight=4))
        began = time.perf_counter()
        page = network.page()
        started = time.perf_counter() - began
        driver.get(page.url)
        for number in range(TRIES):
            rate = 0.001 + number / 10_000
            sent = time.time()
            network.set("a", lr=rate)
            late.append(driver.execute_async_script(SEEN, f"a: lr = {rate}") / 1000 - sent)
    return {"seconds to start beside a network": started, "seconds from a gate to the screen": median(late)}


LIMITS: dict[str, Callable[[float], bool]] = {
    "seconds to open": lambda found: found <= 2,
    "torch imported": lambda found: not found,
    "frames per second, scrubbing": lambda found: found >= 20,
    "MB of script heap": lambda found: found <= 100,
    "MB that the process grew by": lambda found: found <= 100,
    "seconds to start beside a network": lambda found: found <= 1,
    "seconds from a gate to the screen": lambda found: found <= 1,
}
"""What is promised."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser(PACKAGE, __doc__).parse_args(arguments)
    driver = browser()
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = hour(driver, Path(folder)) | live(driver)
    finally:
        driver.quit()
    write_results(HERE, results)
    rows = [(what, f"{value:.2f}", {True: "yes", False: "no"}[LIMITS.get(what, bool)(value)] if what in LIMITS else "")
            for what, value in results.items()]  # fmt: skip
    write_table(HERE, [table(["an hour, 8 gates, 16 sentinels", "measured", "as promised"], rows)])
