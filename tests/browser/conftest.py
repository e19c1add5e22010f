"""A whole Countersign as a user starts it, and a real Chromium in front of it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
READY_WITHIN = 420  # seconds, the first start with its demo on a slow machine
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The story decides what the others look at, so it comes last however the files are named.
    places = [place for place, item in enumerate(items) if HERE in item.path.parents]
    ours = sorted(
        (items[place] for place in places), key=lambda item: item.path.stem == "test_story"
    )
    for place, item in zip(places, ours, strict=True):
        items[place] = item
    if CHROMIUM:
        return
    reason = pytest.mark.skip(reason="no Chromium here: install the package `chromium`")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(reason)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": arguments}


@dataclass(frozen=True)
class Running:
    """One `manage.py up` with its demo."""

    url: str
    password: str
    environment: dict[str, str]

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command in a second shell beside it."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start everything once for all browser tests, and stop it as Ctrl-C would."""
    folder = tmp_path_factory.mktemp("up")
    password = "Tests-" + secrets.token_urlsafe(12)
    port = free_port()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE")
    }
    environment.update(DATA_DIR=str(folder / "data"), PORT=str(port), DEMO_PASSWORD=password)
    output: list[str] = []
    ready = threading.Event()
    up = subprocess.Popen(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def read() -> None:
        assert up.stdout is not None
        for line in up.stdout:
            output.append(line)
            if line.startswith("ready "):
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        ready.wait(READY_WITHIN)
        if up.poll() is not None or not any(line.startswith("ready ") for line in output):
            pytest.fail("up did not become ready:\n" + "".join(output[-40:]))
        yield Running(f"http://127.0.0.1:{port}", password, environment)
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(60)
        except subprocess.TimeoutExpired:
            up.kill()
        reader.join()
        assert up.stdout is not None
        up.stdout.close()


@dataclass
class Visit:
    """One person's browser, with everything its console complained about."""

    page: Page
    complaints: list[str]
    url: str

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="networkidle")
        return self.page


Enter = Callable[..., Visit]


@pytest.fixture
def enter(browser: Browser, running: Running) -> Iterator[Enter]:
    """Log a demo account in, in a window and theme of its own."""
    contexts: list[BrowserContext] = []

    def log_in(
        username: str, *, width: int = 1440, height: int = 900, theme: str = "light",
        javascript: bool = True,
    ) -> Visit:  # fmt: skip
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            java_script_enabled=javascript,
        )
        contexts.append(context)
        page = context.new_page()
        complaints: list[str] = []

        def note(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                complaints.append(f"{page.url}: {message.text}")

        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.goto(f"{running.url}/login/")
        page.fill("[name=username]", username)
        page.fill("[name=password]", running.password)
        page.press("[name=password]", "Enter")
        page.wait_for_url(lambda url: "/login/" not in url)
        return Visit(page, complaints, running.url)

    yield log_in
    for context in contexts:
        context.close()
