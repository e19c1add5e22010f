"""A release registered from a phone; a change behind Countersign's back, against all that runs."""

from __future__ import annotations

import json
import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Enter, Running
from tests.browser.test_story import until

WITHIN = 10  # seconds from the change to the weekly page that names it


def accessible(page: Page) -> None:
    violations = Axe().run(page).response["violations"]
    found = [(one["id"], [node["html"][:140] for node in one["nodes"][:3]]) for one in violations]
    assert found == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_a_builder_changes_one_slot_and_registers_what_the_preview_showed(enter: Enter) -> None:
    builder = enter("builder", width=390)
    page = builder.go("/releases/")
    page.get_by_role("link", name="Register a release").click()
    page.wait_for_load_state("networkidle")
    accessible(page)

    page.get_by_role("link", name="Change one slot").click()
    page.wait_for_load_state("networkidle")
    content = json.loads(page.input_value("textarea[name=content]"))
    content["confidence_threshold"] = 0.311
    content["mood"] = "sunny"
    page.fill("textarea[name=content]", json.dumps(content))
    page.fill("[name=title]", "From a phone")
    page.get_by_role("button", name="Preview").click()
    page.wait_for_load_state("networkidle")
    shown = page.locator("#preview")
    expect(shown).to_contain_text("The confidence threshold goes from")
    expect(shown).to_contain_text("Not in the schema")
    accessible(page)

    page.get_by_role("button", name="Register it").click()
    page.wait_for_load_state("networkidle")
    expect(page.locator("h1")).to_contain_text("From a phone")
    accessible(page)
    assert builder.complaints == []


def test_a_threshold_changed_behind_its_back_is_on_the_weekly_page_within_ten_seconds(
    enter: Enter, running: Running
) -> None:
    reader = enter("cfo")
    assert "Undeclared change" not in reader.go("/").inner_text("main")
    tampered = running.manage("demo_tamper", "--threshold", "0.05")
    assert tampered.returncode == 0, tampered.stderr
    try:
        until(
            lambda: "Undeclared change" in reader.go("/").inner_text("main"), WITHIN,
            "an undeclared change on the weekly page",
        )  # fmt: skip
        page = reader.page
        expect(page.locator("main")).to_contain_text(re.compile(r"Undeclared change of r\d+"))
        expect(page.locator("main")).to_contain_text("Guardrails")

        page = reader.go("/exceptions/?kind=undeclared")
        accessible(page)
        expect(page.get_by_role("link", name="the first case").first).to_be_visible()
        page.get_by_role("link", name=re.compile(r"^Guardrails of r\d+$")).first.click()
        page.wait_for_load_state("networkidle")
        expect(page.locator("#slot-guardrails")).to_contain_text("Differs")
        expect(page.locator("#slot-model")).to_contain_text("Matches")
        accessible(page)
    finally:
        running.manage("demo_tamper", "--undo")
    assert reader.complaints == []
