"""A browser and a served page; skipped with the reason where there is no browser (`make e2e` installs it)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from moola.label.page_server import bind, make_app
from moola.label.page_state import PageState
from tests.label.page_states import made_page_state

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Chromium's own sandbox does not work for root in a container; the page is ours and on loopback.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


class Served:
    """A page behind a real port, in a thread of its own."""

    def __init__(self, page_state: PageState) -> None:
        self.page_state = page_state
        self.place = bind(0)
        port = self.place.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        self.server = uvicorn.Server(uvicorn.Config(make_app(page_state, port), log_config=None, ws="none"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.place]}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.place.close()
        self.page_state.store.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(**changed: object) -> Served:
        running.append(Served(made_page_state(tmp_path, **changed)))
        return running[-1]

    yield start
    for served in running:
        served.stop()


class Command:
    """`moola label` as a process of its own, as a person starts it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        line = [sys.executable, "-m", "moola.cli", "label", "--json", *arguments]
        quiet = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=quiet)
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        assert told, self.process.communicate()[1].decode()
        self.told = json.loads(told)
        self.url = self.told["url"]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.communicate(timeout=30)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    running: list[Command] = []

    def start(*arguments: str) -> Command:
        running.append(Command(tmp_path, *arguments))
        return running[-1]

    yield start
    for one in running:
        one.interrupt()


@pytest.fixture
def page_of(browser) -> Iterator[Callable]:
    contexts, wrong = [], []

    def start(served: Served | Command, width: int = 1280, height: int = 800, context=None, path: str = ""):
        if context is None:
            context = browser.new_context(viewport={"width": width, "height": height})
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(served.url) else wrong.append(asked.url))
        page.goto(served.url + path)
        page.wait_for_selector("#title:not(:empty)")
        page.wait_for_selector("#chart:focus")
        return page

    yield start
    for context in contexts:
        context.close()
    assert wrong == []
