"""The story of the product, from an executive's chair, against everything that really runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Enter, Running, Visit
from tests.browser.pages import find
from tests.browser.phone import PHONE, approve_from_the_link, forget_who_it_was

WITHIN = 10  # seconds from a decision to receipts of the right release


def newest_release(page: Page) -> str:
    """The release named by the newest run receipt on the receipts page."""
    row = page.locator("table tbody tr").first
    found = re.search(r"\br\d+\b", row.inner_text())
    return found.group() if found else ""


def until(true: Callable[[], bool], seconds: float, what: str) -> float:
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.25)
    return time.monotonic() - start


def receipts_carry(visit: Visit, release: str) -> None:
    def seen() -> bool:
        visit.go("/receipts/")
        return newest_release(visit.page) == release

    until(seen, WITHIN, f"receipts of {release}")


def test_read_the_week_approve_see_it_live_roll_back_and_explain(
    enter: Enter, running: Running
) -> None:
    owner = enter("head-of-support")
    page = owner.go("/")
    expect(page.locator("h1")).to_contain_text(re.compile(r"Week \d+"))

    path = find(owner, ("/promotions/?state=awaiting_owner", r"/promotions/\d+/"))
    candidate = re.search(r"\br\d+\b", owner.go(path).locator("h1").inner_text())
    assert candidate is not None
    phone = enter("head-of-support", **PHONE)
    forget_who_it_was(running)
    why = "Better on golden and recent, nothing worse."
    taps = approve_from_the_link(phone, running, path, why)
    assert taps.count <= 3
    expect(phone.page.get_by_role("status").first).to_contain_text("is live")
    receipts_carry(owner, candidate.group())

    page = owner.go("/workflows/support-triage/")
    page.get_by_text("Roll back…").first.click()
    form = page.locator("details[open] form")
    form.locator("[name=reason]").fill("Customers complain about wrong answers.")
    form.get_by_role("button", name=re.compile("Roll back to")).click()
    page.wait_for_load_state("networkidle")
    served = re.search(r"\br\d+\b", owner.go("/workflows/support-triage/").inner_text("main"))
    assert served is not None
    assert served.group() != candidate.group()
    receipts_carry(owner, served.group())

    page = owner.go("/post-mortems/")
    expect(page.get_by_role("link", name=f"Rollback of {candidate.group()}").first).to_be_visible()

    builder = enter("builder")
    page = builder.go("/releases/")
    page.get_by_role("link", name=re.compile(rf"\b{candidate.group()}\b")).first.click()
    page.get_by_role("link", name="Ask for promotion").click()
    page.locator("[name=rationale]").fill("Once more.")
    page.get_by_role("button", name="Ask for promotion").click()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("alert").first).to_contain_text("post-mortem")

    verified = running.manage("audit_verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.startswith("Valid: ")
    assert owner.complaints == []
