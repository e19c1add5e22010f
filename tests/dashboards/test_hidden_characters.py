"""No page shows a text that lies: hidden characters of any text stand there by their names."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from governance.common.time import now, today
from governance.evals.services import freeze_suite, request_run
from governance.kpis.models import Kpi
from governance.kpis.services import write_note
from governance.people.models import User
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.services import store
from governance.releases.services import register_release
from governance.rollouts import services as rollouts
from governance.rollouts.models import PostMortem, Promotion
from governance.triage.models import ExceptionCase
from governance.triage.services import dismiss
from governance.workflows.models import Workflow
from tests.conftest import slots
from tests.dashboards.sessions import confirmed  # noqa: F401 - a fixture
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
LINK = re.compile(r'(?:href)="(/[^"]*)"')
MOST_PAGES = 60


def lie(text: str) -> str:
    """Text that hides a control character and turns the reading direction."""
    return f"{text} a\x07b\u202efdp.exe"


@pytest.fixture
def planted(
    workflow: Workflow, kpis: list[Kpi], waiting: Promotion, owner: User, analyst: User,
    builder: User,
) -> list[str]:  # fmt: skip
    """One of each kind of text that people or machines send; returns how each begins."""
    rollouts.approve_promotion(
        waiting.pk, actor=owner, review_round=waiting.review_round, reason=lie("Approved"),
        authenticated_at=now(),
    )  # fmt: skip
    refused = rollouts.propose_promotion(
        register_release(
            workflow,
            slots(0.4, model={"provider": "own", "id": lie("model"), "parameters": {"x": 1}}),
            title=lie("Title"),
            actor=builder,
        )[0],
        actor=builder,
        rationale=lie("Rationale"),
    )
    rollouts.withdraw_promotion(refused.pk, actor=builder, reason=lie("Withdrawn"))
    rollouts.roll_back(workflow, actor=owner, reason=lie("Rolled back"))
    post_mortem = PostMortem.objects.get()
    rollouts.write_post_mortem(
        post_mortem.pk, actor=owner, cause=lie("Cause"), impact=lie("Impact")
    )
    rollouts.add_action(post_mortem.pk, actor=owner, text=lie("Action"))
    write_note(kpis[0].pk, today() - timedelta(days=today().weekday()), lie("Note"), actor=owner)
    stored = store(
        [
            ReceiptDraft(
                run_id="run\u202e1", workflow=workflow.slug, started_at=now(),
                case_id="case\u202e1", outcome=lie("Outcome"), segment=lie("Segment"),
                error=lie("Error"), violations=(lie(violation),), refs={lie("ref"): lie("Ref")},
                observed={"model": lie("Observed")}, model_answered=lie("Model"),
            )
            for violation in ("Violation",)
        ]
    )  # fmt: skip
    assert stored.accepted == 1, stored.refused
    store([ReceiptDraft(run_id="run-2", workflow=workflow.slug, started_at=now(),
                        violations=(lie("Dismissed"),))])  # fmt: skip
    work()
    other = ExceptionCase.objects.get(title__contains="Dismissed")
    dismiss(other.pk, actor=analyst, comment=lie("Comment"))
    case = {
        "key": lie("key"), "input": {"number": 1, "text": lie("Asked")},
        "expected": {"answer": "yes", "must_escalate": None}, "category": lie("Category"),
        "must_pass": True, "reason": lie("Reason"),
    }  # fmt: skip
    suite = freeze_suite(workflow, "adversarial", [case], actor=analyst)
    request_run(waiting.release, suite, actor=analyst, purpose="request", slot=lie("slot"))
    work()
    return [
        "Approved", "Title", "Rationale", "Withdrawn", "Rolled back", "Cause", "Impact", "Action",
        "Note", "Outcome", "Segment", "Error", "Violation", "Ref", "Observed", "Model",
        "Dismissed", "Comment", "key", "Category", "Reason",
    ]  # fmt: skip


def hidden(text: str) -> list[str]:
    return [
        f"U+{ord(character):04X} after {text[max(0, at - 60) : at]!r}"
        for at, character in enumerate(text)
        if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co")
    ]


def crawl(client: Client, *starts: str) -> dict[str, str]:
    """Every page that can be reached by links, each path with one more of its query strings."""
    pages: dict[str, str] = {}
    seen: dict[str, int] = {}
    waiting = list(starts)
    while waiting and len(pages) < MOST_PAGES:
        url = waiting.pop(0)
        path = url.partition("?")[0]
        if url in pages or path.startswith(("/static/", "/logout")) or seen.get(path, 0) >= 2:
            continue
        seen[path] = seen.get(path, 0) + 1
        answer = client.get(url)
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            pages[url] = answer.content.decode()
            waiting += [html.unescape(found) for found in LINK.findall(pages[url])]
    return pages


def test_no_page_holds_a_hidden_character_of_any_text(
    planted: list[str], workflow: Workflow, owner: User, cfo: User, analyst: User, builder: User,
    login: Login,
) -> None:  # fmt: skip
    everything = ""
    for user in (owner, cfo, analyst, builder):
        pages = crawl(login(user), "/", "/exceptions/?state=all", "/receipts/", "/evals/", "/jobs/")
        assert len(pages) > 20
        for url, text in pages.items():
            assert hidden(text) == [], url
        everything += "".join(pages.values())
    for begins in planted:
        assert f"{begins} a⟦U+0007⟧b⟦U+202E⟧fdp.exe" in everything, begins
    assert "Asked a\\u0007b⟦U+202E⟧fdp.exe" in everything  # JSON has its own way
    assert "run⟦U+202E⟧1" in everything
    assert "case⟦U+202E⟧1" in everything


def test_a_refused_form_and_a_part_of_a_page_mark_them_too(
    planted: list[str], owner: User, login: Login, confirmed: Login
) -> None:
    case = ExceptionCase.objects.get(state="open", title__contains="Violation")
    taken = login(owner).post(f"/exceptions/{case.pk}/take/", headers={"HX-Request": "true"})
    assert "⟦U+202E⟧" in taken.content.decode()
    assert hidden(taken.content.decode()) == []
    post_mortem = PostMortem.objects.get()
    page = confirmed(owner).post(
        f"/post-mortems/{post_mortem.pk}/add-action/",
        {"text": lie("x" * 600), "due_on": (today() - timedelta(days=1)).isoformat()},
    )
    assert hidden(page.content.decode().replace("\r\n", "\n")) == []


def test_pages_without_such_characters_stay_as_they_are(
    workflow: Workflow, waiting: Promotion, cfo: User, login: Login
) -> None:
    for url, text in crawl(login(cfo), "/").items():
        assert "⟦" not in text, url


def test_lines_typed_in_a_form_are_lines_and_no_hidden_characters(
    planted: list[str], owner: User, login: Login
) -> None:
    post_mortem = PostMortem.objects.get()
    typed: dict[str, Any] = {"cause": "One.\r\nTwo.", "impact": "Three."}
    client = login(owner)
    client.post(f"/post-mortems/{post_mortem.pk}/write/", typed)
    page = client.get(f"/post-mortems/{post_mortem.pk}/").content.decode()
    assert "One.\r\nTwo." in page or "One.\nTwo." in page or "One.<br>Two." in page
