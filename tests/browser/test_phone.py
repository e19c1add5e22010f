"""The promotion pages on a phone: the decision at once, nothing wide, nothing small."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Enter, Running, Visit
from tests.browser.pages import find
from tests.browser.phone import PHONE, forget_who_it_was, shortest_control


def waiting(visit: Visit) -> str:
    """The promotion that waits for its owner."""
    return find(visit, ("/promotions/?state=awaiting_owner", r"/promotions/\d+/"))


def test_the_answers_and_the_decision_are_on_the_first_screen(enter: Enter) -> None:
    visit = enter("head-of-support", **PHONE)
    page = visit.go(waiting(visit))
    for words in ("What changes", "What it costs"):
        expect(page.get_by_role("heading", name=words)).to_be_in_viewport()
    bar = page.get_by_role("link", name="Approve…")
    expect(bar).to_be_in_viewport()
    box = bar.bounding_box()
    assert box is not None
    assert box["width"] >= 340
    assert box["height"] >= 44
    bar.click()
    expect(page.locator("#reason")).to_be_focused()
    for name in ("Approve promotion", "Reject"):
        expect(page.get_by_role("button", name=name)).to_be_in_viewport()
    assert visit.complaints == []


def test_the_password_comes_before_the_form_and_leads_back_to_it(
    enter: Enter, running: Running
) -> None:
    visit = enter("head-of-support", **PHONE)
    path = waiting(visit)
    forget_who_it_was(running)
    page = visit.go(path)
    page.get_by_role("link", name="Approve…").click()
    assert "/reauthenticate/" in page.url
    expect(page.locator("[name=password]")).to_be_focused()
    page.keyboard.type(running.password)
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url(re.compile(re.escape(path)))
    expect(page.locator("#reason")).to_be_focused()
    expect(page.get_by_role("button", name="Approve promotion")).to_be_in_viewport()


@pytest.mark.parametrize("who", ["head-of-support", "builder"])
def test_nothing_is_wide_at_320_and_nothing_is_small_at_390(enter: Enter, who: str) -> None:
    visit = enter(who, width=320, height=700)
    path = waiting(visit)
    release = find(visit, (path, r"/releases/sha256:[0-9a-f]{64}/"))
    paths = ["/promotions/", path] + ([f"{release}propose/"] if who == "builder" else [])
    for path in paths:
        page = visit.go(path)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, path
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    for path in paths:
        height, words = shortest_control(visit.go(path))
        assert height >= 44, (path, words)


def test_accounts_fit_the_narrowest_screen(enter: Enter) -> None:
    visit = enter("admin", width=320, height=700)
    for path in ("/people/", find(visit, ("/people/", r"/people/\d+/"))):
        page = visit.go(path)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, path


def test_looking_at_a_proposal_changes_with_what_is_chosen(enter: Enter) -> None:
    visit = enter("builder", **PHONE)
    release = find(visit, (waiting(visit), r"/releases/sha256:[0-9a-f]{64}/"))
    page = visit.go(f"{release}propose/")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("It serves every case at once.")
    page.get_by_text("5 % → 25 % → all", exact=True).click()
    expect(preview).to_contain_text("A pilot first: 5 %")
    page.get_by_text("Own steps", exact=True).click()
    expect(page.locator("[name=step_share]").first).to_be_visible()
    assert visit.complaints == []
