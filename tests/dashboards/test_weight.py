from __future__ import annotations

import re
from collections.abc import Callable

from django.test import Client

from governance.people.models import User
from governance.rollouts.models import Promotion

FIRST_VIEW = 120_000  # bytes over the wire
SCRIPTS = 30_000


def weight(client: Client, url: str) -> int:
    response = client.get(url, headers={"Accept-Encoding": "gzip"})
    assert response.status_code == 200
    assert response.headers["Content-Encoding"] == "gzip"
    return len(response.getvalue())


def test_the_first_view_of_the_week_is_light(
    owner: User, measured: None, waiting: Promotion, login: Callable[[User], Client]
) -> None:
    client = login(owner)
    page = client.get("/").content.decode()
    scripts = re.findall(r'<script src="([^"]+)"', page)
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
    assert len(scripts) == 2
    assert not any("plotly" in script for script in scripts)
    script_bytes = sum(weight(client, url) for url in scripts)
    assert script_bytes <= SCRIPTS
    whole = weight(client, "/") + script_bytes + sum(weight(client, url) for url in sheets)
    assert whole <= FIRST_VIEW


def test_pages_hold_no_inline_script_style_or_handler(
    owner: User, measured: None, waiting: Promotion, login: Callable[[User], Client]
) -> None:
    page = login(owner).get("/").content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\sstyle=", page)
    assert not re.search(r"\son[a-z]+=", page)
    assert "hx-on" not in page
    assert all("nonce=" in tag for tag in re.findall(r"<style[^>]*>", page))


def test_the_policy_lets_in_nothing_inline(
    owner: User, measured: None, login: Callable[[User], Client]
) -> None:
    policy = login(owner).get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
