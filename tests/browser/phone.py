"""Approving from a phone, with the taps counted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import Locator, Page, expect

if TYPE_CHECKING:
    from tests.browser.conftest import Running, Visit

PHONE = {"width": 390, "height": 844}
LET_AGE = """
from datetime import timedelta
from importlib import import_module
from django.conf import settings
from django.contrib.sessions.models import Session
from governance.common.time import true_now
engine = import_module(settings.SESSION_ENGINE)
for key in Session.objects.values_list("session_key", flat=True):
    session = engine.SessionStore(key)
    if "reauthenticated_at" in session:
        session["reauthenticated_at"] = (true_now() - timedelta(hours=1)).isoformat()
        session.save()
"""


MEASURE = """() => [
  ...document.querySelectorAll("main .button, main input, main select, main textarea"),
]
  .filter((el) => el.checkVisibility() && !el.matches(".copy"))
  .filter((el) => !["radio", "checkbox", "hidden"].includes(el.type))
  .map((el) => [el.getBoundingClientRect().height, el.textContent.trim().slice(0, 40) || el.name])
  .sort((a, b) => a[0] - b[0])[0] ?? [44, ""]
"""


class Taps:
    """A finger that counts."""

    def __init__(self) -> None:
        self.count = 0

    def on(self, target: Locator) -> None:
        expect(target).to_be_in_viewport()
        target.click()
        self.count += 1


def forget_who_it_was(running: Running) -> None:
    """Let every session's proof of identity grow old, as an hour would."""
    done = running.manage("shell", "-v", "0", "-c", LET_AGE)
    assert done.returncode == 0, done.stderr


def approve_from_the_link(visit: Visit, running: Running, path: str, reason: str) -> Taps:
    """Open the link, tap Approve…, prove who it is where asked, say why, tap Approve."""
    page, taps = visit.page, Taps()
    visit.go(path)
    taps.on(page.get_by_role("link", name="Approve…"))
    if "/reauthenticate/" in page.url:
        expect(page.locator("[name=password]")).to_be_focused()
        page.keyboard.type(running.password)
        taps.on(page.get_by_role("button", name="Confirm"))
        page.wait_for_url(re.compile(re.escape(path)))
    expect(page.locator("#reason")).to_be_focused()
    page.keyboard.type(reason)
    taps.on(page.get_by_role("button", name="Approve promotion"))
    page.wait_for_load_state("networkidle")
    return taps


def shortest_control(page: Page) -> tuple[float, str]:
    """The lowest button, field or select that is shown, in CSS pixels, and what it says."""
    found = page.evaluate(MEASURE)
    return float(found[0]), str(found[1])
