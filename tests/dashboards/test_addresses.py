"""Whatever somebody types into the address, every page answers, and never with an error of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from governance.people.models import User

LISTS = (
    "/", "/workflows/", "/releases/", "/promotions/", "/post-mortems/", "/exceptions/",
    "/receipts/", "/evals/", "/audit/", "/jobs/",
)  # fmt: skip
FILTERS = (
    "workflow", "state", "kind", "release", "run", "case", "standing", "from", "to", "day",
    "page", "after", "before", "actor", "verb", "object", "suite", "mine", "week", "next",
)  # fmt: skip
HOSTILE = (
    "%00", "a%00b", "-1", "99999999999999999999", "abc", "0000-00-00", "9999-99-99", "%FF%FE",
    "%ED%A0%80", "%27%22%3Csvg%20onload%3Dalert(1)%3E", "{{7*7}}", "%0d%0aX-Injected:%201",
    "%E2%80%AE", "A" * 5_000, "NaN", "1e400", "[]", "sha256:" + "Z" * 64,
)  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("path", LISTS)
def test_any_filter_gets_an_answer(
    path: str, cfo: User, login: Callable[[User], Client], workflow: object
) -> None:
    client = login(cfo)
    for text in HOSTILE:
        query = "&".join(f"{name}={text}" for name in FILTERS)
        answer = client.get(f"{path}?{query}")
        assert answer.status_code < 500, f"{path}?…={text[:40]}"
        assert "X-Injected" not in answer.headers
        assert b"<svg onload" not in answer.content


@pytest.mark.django_db
@pytest.mark.parametrize("text", HOSTILE)
def test_any_name_in_a_path_gets_an_answer(
    text: str, cfo: User, login: Callable[[User], Client]
) -> None:
    client = login(cfo)
    for path in (
        f"/workflows/{text}/", f"/workflows/{text}/roll-back/", f"/releases/{text}/",
        f"/promotions/{text}/", f"/receipts/2026-11-22/{text}/", f"/reviews/weekly/{text}/",
        f"/reviews/{text}/2026-W47/", f"/gate-reports/{text}/",
        f"/evals/runs/{text}/", f"/post-mortems/{text}/", f"/nowhere/{text}",
    ):  # fmt: skip
        assert client.get(path).status_code == 404, path
