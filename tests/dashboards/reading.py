"""Pages as somebody reads them."""

from __future__ import annotations

import re
from html import unescape

from django.test import Client


def text(client: Client, url: str, status: int = 200) -> str:
    """The page with its tags."""
    answer = client.get(url)
    assert answer.status_code == status
    return unescape(answer.content.decode())


def words(client: Client, url: str) -> str:
    """What stands on the page beside its navigation, without tags."""
    page = client.get(url, follow=True).content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", page[page.index("<main") :]).split())
