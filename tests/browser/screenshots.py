"""`make screenshots`: a picture of every page against a running `make up`.

Usage: python -m tests.browser.screenshots URL USERNAME PASSWORD FOLDER [--readme PATH]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from tests.browser.conftest import CHROMIUM, Visit
from tests.browser.pages import paths

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = {"1440": 900, "768": 1024, "390": 844}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("username")
    parser.add_argument("password")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", help="names of pages")
    parser.add_argument("--readme", metavar="PATH", help="only the README's picture, of this page")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        for theme in THEMES[:1] if options.readme else THEMES:
            for width, height in WIDTHS.items():
                if options.readme and width != "1440":
                    continue
                context = browser.new_context(
                    viewport={"width": int(width), "height": height}, color_scheme=theme
                )
                page = context.new_page()
                page.goto(f"{options.url}/login/")
                page.fill("[name=username]", options.username)
                page.fill("[name=password]", options.password)
                page.press("[name=password]", "Enter")
                page.wait_for_url(lambda url: "/login/" not in url)
                visit = Visit(page, [], options.url)
                found = {"weekly": options.readme} if options.readme else paths(visit)
                for name, path in found.items():
                    if options.only and name not in options.only:
                        continue
                    page.goto(options.url + path, wait_until="networkidle")
                    stem = (
                        "weekly" if options.readme else f"{name.replace(' ', '-')}-{width}-{theme}"
                    )
                    page.screenshot(
                        path=options.folder / f"{stem}.png", full_page=not options.readme
                    )
                context.close()
        browser.close()


if __name__ == "__main__":
    main()
