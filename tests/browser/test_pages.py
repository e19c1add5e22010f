"""Every page: accessible in light and dark, nothing on the console, no sideways scroll."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Enter, Visit
from tests.browser.pages import paths


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_and_the_console_is_silent(enter: Enter, theme: str) -> None:
    visit = enter("cfo", theme=theme)
    found: list[str] = []
    for name, path in paths(visit).items():
        page = visit.go(path)
        for violation in Axe().run(page).response["violations"]:
            nodes = [node["html"][:140] for node in violation["nodes"][:3]]
            found.append(f"{name} ({theme}): {violation['id']} {nodes}")
    assert found == []
    assert visit.complaints == []


@pytest.mark.parametrize("width", [1440, 768, 390, 320])
def test_no_page_scrolls_sideways(enter: Enter, width: int) -> None:
    visit = enter("cfo", width=width)
    wide = {}
    for name, path in paths(visit).items():
        page = visit.go(path)
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if over > 0:
            wide[name] = over
    assert wide == {}


def test_every_page_can_be_read_without_javascript(enter: Enter) -> None:
    visit = enter("cfo", javascript=False)
    for name, path in paths(visit).items():
        page = visit.go(path)
        assert page.locator("h1").count() == 1, name
        assert page.locator("main").inner_text().strip(), name


def test_a_drawn_plotly_chart_breaks_no_policy(enter: Enter) -> None:
    visit = enter("cfo")
    page = visit.go("/")
    page.locator("[data-figure]").first.click()
    page.wait_for_selector(".js-plotly-plot .main-svg", timeout=20_000)
    assert visit.complaints == []


def test_the_list_of_pages_names_real_pages(enter: Enter) -> None:
    visit: Visit = enter("admin")
    for name, path in paths(visit).items():
        answer = visit.page.request.get(visit.url + path)
        assert answer.status == 200, name
