"""The suites' pages: what is there, how much of the traffic has a case."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from governance.audit.models import AuditEvent
from governance.common.time import now
from governance.evals.decision_models import SuiteEdit
from governance.evals.models import SuiteVersion
from governance.evals.services import freeze_suite
from governance.people.models import User
from governance.receipts.models import RollUp
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]


def cases(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Cases number 0, 1, …, each with its reason."""
    return [
        {
            "key": f"c{number:03}",
            "input": {"text": f"Where is parcel {number}?"},
            "expected": {"answer": "parcel"},
            "category": "parcels",
            "reason": "Everyday mail.",
            **changes,
        }
        for number in range(count)
    ]


def ran(workflow: Workflow, **runs: int) -> None:
    """So many runs per segment, an hour ago; `none` are those that name no segment."""
    RollUp.objects.bulk_create(
        RollUp(
            workflow=workflow, grain="hour", starts_at=now() - timedelta(hours=1),
            segment="" if segment == "none" else segment, measure="runs", n=n, total=n,
            total_squares=n,
        )
        for segment, n in runs.items()
    )  # fmt: skip


def test_the_list_shows_each_suite_and_what_traffic_has_no_case(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    page = login(analyst).get("/evals/suites/").content.decode()
    assert "none yet" in page
    freeze_suite(workflow, "golden", cases(3), actor=analyst)
    ran(workflow, en=75, de=25)
    page = login(analyst).get("/evals/suites/").content.decode()
    assert "100 % of traffic has no case." in page
    assert "v1" in page
    assert "nothing changed" in page


def test_nobody_sees_the_suites_of_others(
    workflow: Workflow, owner: User, controller: User, login: Login
) -> None:
    assert workflow.name in login(owner).get("/evals/suites/").content.decode()
    assert workflow.name not in login(controller).get("/evals/suites/").content.decode()


def typed(**changes: Any) -> dict[str, Any]:
    """What the form sends for a new golden case."""
    return {
        "key": "new", "text": "My parcel is wet.", "answer": "complaint", "reason": "Was missing.",
        "category": "complaints", "segment": "en", "seen": "", **changes,
    }  # fmt: skip


EDIT = "/evals/suites/support-triage/golden/edit/"
SUITE = "/evals/suites/support-triage/golden/"


def put(client: Client, **changes: Any) -> Any:
    key = changes.get("key", "new")
    return client.post(f"{EDIT}?key={key}", typed(**changes))


def test_edits_wait_in_a_draft_and_come_in_together(
    workflow: Workflow, analyst: User, builder: User, login: Login
) -> None:
    freeze_suite(workflow, "golden", cases(3), actor=analyst)
    first, second = login(analyst), login(builder)
    assert put(first).status_code == 302
    page = second.get(SUITE)
    assert "Draft of v2" in page.content.decode()
    assert [row["key"] for row in page.context["rows"]] == ["c000", "c001", "c002", "new"]
    seen = second.get(f"{EDIT}?key=c001").context["typed"]["seen"]
    assert put(second, key="c001", seen=seen).status_code == 302
    mark = second.get(SUITE).context["mark"]
    assert SuiteVersion.objects.count() == 1  # nothing judges before it is frozen
    answer = first.post(f"{SUITE}freeze/", {"reason": "Wet parcels.", "mark": mark})
    assert answer.status_code == 302

    suite = SuiteVersion.objects.get(version=2)
    assert set(suite.editors.all()) == {analyst, builder}
    assert (suite.case_count, suite.reason) == (4, "Wet parcels.")
    assert suite.cases.get(key="c000").input == {"text": "Where is parcel 0?"}
    assert suite.cases.get(key="c001").input == {"text": "My parcel is wet."}
    assert suite.cases.get(key="new").cluster == suite.cases.get(key="c001").cluster != ""
    assert set(SuiteEdit.objects.values_list("state", "version")) == {("frozen", suite.pk)}
    verbs = AuditEvent.objects.order_by("seq").values_list("verb", flat=True)
    assert list(verbs)[-3:] == ["suite.edited", "suite.edited", "suite.frozen"]


def test_a_case_that_somebody_else_changed_is_not_overwritten_unseen(
    workflow: Workflow, analyst: User, builder: User, login: Login
) -> None:
    freeze_suite(workflow, "golden", cases(1), actor=analyst)
    first, second = login(analyst), login(builder)
    seen = first.get(f"{EDIT}?key=c000").context["typed"]["seen"]
    assert put(second, key="c000", seen=seen, text="Theirs.").status_code == 302
    answer = put(first, key="c000", seen=seen, text="My own words.")
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "My own words." in page
    assert "Theirs." in page
    assert (
        put(
            first, key="c000", seen=answer.context["typed"]["seen"], text="My own words."
        ).status_code
        == 302
    )
    edit = SuiteEdit.objects.get(state="open")
    assert (edit.content or {})["input"] == {"text": "My own words."}


def test_a_draft_that_changed_is_not_frozen_unseen(
    workflow: Workflow, analyst: User, builder: User, login: Login
) -> None:
    client = login(analyst)
    put(client)
    mark = client.get(SUITE).context["mark"]
    put(login(builder), key="another")
    answer = client.post(f"{SUITE}freeze/", {"reason": "Mine.", "mark": mark})
    assert answer.status_code == 409
    assert not SuiteVersion.objects.exists()
    empty = client.post(f"{SUITE}freeze/", {"reason": "", "mark": mark})
    assert empty.status_code == 422


def test_a_case_is_taken_out_and_an_edit_is_undone(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    freeze_suite(workflow, "golden", cases(2), actor=analyst)
    client = login(analyst)
    seen = client.get(f"{SUITE}case/?key=c000").context["seen"]
    gone = {"key": "c000", "mark": seen, "reason": "Nobody writes that."}
    assert client.post(f"{SUITE}remove/", gone).status_code == 302
    assert "The draft takes it out." in client.get(f"{SUITE}case/?key=c000").content.decode()
    assert client.post(f"{SUITE}remove/", gone).status_code == 409
    edit = SuiteEdit.objects.get()
    assert client.post(f"{SUITE}undo/", {"edit": edit.pk}).status_code == 302
    assert client.post(f"{SUITE}undo/", {"edit": edit.pk}).status_code == 409
    assert client.get(SUITE).context["edit_count"] == 0
    for nonsense in ("-5", "12abc", "x", "", "9" * 30):
        assert client.post(f"{SUITE}undo/", {"edit": nonsense}).status_code == 404
    # An edit back to what is frozen leaves no edit.
    put(client, key="c001", seen=client.get(f"{EDIT}?key=c001").context["typed"]["seen"])
    back = {
        "text": "Where is parcel 1?", "answer": "parcel", "category": "parcels", "segment": "",
        "reason": "Everyday mail.",
    }  # fmt: skip
    put(client, key="c001", seen=client.get(f"{EDIT}?key=c001").context["typed"]["seen"], **back)
    assert client.get(SUITE).context["edit_count"] == 0


def test_a_draft_that_changed_is_not_taken_back_unseen(
    workflow: Workflow, analyst: User, builder: User, login: Login
) -> None:
    client = login(analyst)
    put(client, key="mine")
    mark = client.get(SUITE).context["mark"]
    put(login(builder), key="theirs")
    assert client.post(f"{SUITE}undo/", {"mark": mark}).status_code == 409
    assert client.post(f"{SUITE}undo/").status_code == 409
    assert client.get(SUITE).context["edit_count"] == 2
    page = client.get(SUITE)
    assert f'name="mark" value="{page.context["mark"]}"' in page.content.decode()
    assert client.post(f"{SUITE}undo/", {"mark": page.context["mark"]}).status_code == 302
    assert client.get(SUITE).context["edit_count"] == 0


def test_a_change_of_type_alone_is_a_change(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    freeze_suite(workflow, "golden", cases(1, input={"n": 1}), actor=analyst)
    client = login(analyst)
    seen = client.get(f"{EDIT}?key=c000").context["typed"]["seen"]
    answer = put(client, key="c000", seen=seen, text='{"n": true}', answer="parcel")
    assert answer.status_code == 302
    assert client.get(SUITE).context["edit_count"] == 1


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("golden", {"reason": ""}, "Say why"),
        ("golden", {"text": ""}, "Write what is asked"),
        ("golden", {"answer": ""}, "what is expected"),
        ("golden", {"more": "[1]"}, "one JSON object"),
        ("golden", {"more": '{"a": NaN}'}, "NaN"),
        ("golden", {"must_escalate": "on", "must_not_escalate": "on"}, "cannot both"),
        (
            "golden",
            {"must_escalate": "on", "expected": '{"must_not_escalate": true}'},
            "cannot both",
        ),
        ("golden", {"key": "k" * 121}, "120"),
        ("adversarial", {}, "reaches the workflow"),
    ],
)
def test_a_case_that_is_not_complete_is_refused_and_kept_in_the_form(
    kind: str, changes: dict[str, Any], sentence: str, workflow: Workflow, analyst: User,
    login: Login,
) -> None:  # fmt: skip
    client = login(analyst)
    url = f"/evals/suites/{workflow.slug}/{kind}/edit/"
    answer = client.post(url, typed(**changes))
    assert answer.status_code == 422
    page = answer.content.decode()
    assert sentence in page
    assert "complaints" in page
    assert not SuiteEdit.objects.exists()


def test_look_alikes_are_a_group_of_their_own(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    attack = {"expected": {"must_escalate": True}, "channel": "document"}
    alike = {"expected": {"answer": "x", "must_not_escalate": True}, "channel": "direct"}
    rows = [{**row, **(alike if row["key"] == "c000" else attack)} for row in cases(3)]
    freeze_suite(workflow, "adversarial", rows, actor=analyst)
    client = login(analyst)
    url = f"/evals/suites/{workflow.slug}/adversarial/"
    page = client.get(url)
    assert "1 harmless look-alike" in page.content.decode()
    assert ("document", "In a document", 2, 0) in page.context["channels"]
    for query, keys in (
        ("group=look-alikes", ["c000"]), ("group=attacks", ["c001", "c002"]),
        ("channel=direct", ["c000"]), ("channel=document&text=c002", ["c002"]),
    ):  # fmt: skip
        assert [row["key"] for row in client.get(f"{url}?{query}").context["rows"]] == keys


def test_cases_are_paged_by_key_with_the_draft_on_top(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    freeze_suite(workflow, "golden", cases(120), actor=analyst)
    client = login(analyst)
    put(client, key="c049a", category="odd", must_pass="on")
    found: list[str] = []
    after = ""
    while True:
        page = client.get(f"{SUITE}?after={after}").context
        found += [row["key"] for row in page["rows"]]
        after = page["next_key"]
        if not after:
            break
    assert found == sorted(found)
    assert len(found) == 121
    assert found[50] == "c049a"
    for query in ("category=odd", "must_pass=1", "text=wet", "segment=en", "text=c049a"):
        rows = client.get(f"{SUITE}?{query}").context["rows"]
        assert [row["key"] for row in rows] == ["c049a"], query


def test_two_versions_are_compared_word_by_word(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    old = cases(4)
    freeze_suite(workflow, "golden", old, actor=analyst)
    new = [*cases(5)[1:4], cases(5)[4]]
    new[0] = {**new[0], "input": {"text": "Where is letter 1?"}, "must_pass": True}
    freeze_suite(workflow, "golden", new, actor=analyst)
    page = login(analyst).get(f"{SUITE}compare/")
    assert page.context["counts"] == {"added": 1, "changed": 1, "removed": 1}
    assert [row["case"].key for row in page.context["rows"]] == ["c000", "c001", "c004"]
    text = page.content.decode()
    assert "parcel<span" in text
    assert "letter<span" in text
    only = login(analyst).get(f"{SUITE}compare/?from=1&to=2&what=removed")
    assert [row["case"].key for row in only.context["rows"]] == ["c000"]
    assert login(analyst).get(f"{SUITE}compare/?from=1&to=9").status_code == 404


def test_a_second_person_confirms_a_version_and_no_editor_does(
    workflow: Workflow, owner: User, analyst: User, builder: User, cfo: User, login: Login
) -> None:
    client = login(owner)
    put(client)
    mark = client.get(SUITE).context["mark"]
    login(analyst).post(f"{SUITE}freeze/", {"reason": "The owner's case.", "mark": mark})
    suite = SuiteVersion.objects.get()
    for wrong in (owner, analyst, builder):
        answer = login(wrong).post(f"{SUITE}confirm/", {"version": 1})
        assert answer.status_code == 403, wrong
    assert "waits for a second person" in login(cfo).get(SUITE).content.decode()
    assert login(cfo).post(f"{SUITE}confirm/", {"version": 1}).status_code == 302
    suite.refresh_from_db()
    assert suite.confirmed_by == cfo
    assert login(cfo).post(f"{SUITE}confirm/", {"version": 1}).status_code == 409


def test_readers_read_strangers_find_nothing(
    workflow: Workflow, analyst: User, cfo: User, controller: User, outsider: User, login: Login
) -> None:
    freeze_suite(workflow, "golden", cases(1), actor=analyst)
    for path in (SUITE, f"{SUITE}case/?key=c000", f"{SUITE}compare/"):
        assert login(cfo).get(path).status_code == 200
        for stranger in (controller, outsider):
            assert login(stranger).get(path).status_code == 404
    assert login(cfo).get(EDIT).status_code == 403
    assert put(login(cfo)).status_code == 403
    for path in ("recent/edit/", "nothing/", "golden/?version=9", "golden/case/?key=none"):
        assert login(analyst).get(f"/evals/suites/{workflow.slug}/{path}").status_code == 404


def test_hidden_characters_survive_an_edit(workflow: Workflow, analyst: User, login: Login) -> None:
    hostile = {"text": "Pay \u202etxt.exe\u200b now", "note": "<svg onload=alert(1)>"}
    freeze_suite(workflow, "golden", cases(1, input=hostile), actor=analyst)
    client = login(analyst)
    typed_now = client.get(f"{EDIT}?key=c000").context["typed"]
    again = {name: typed_now[name] for name in ("key", "text", "more", "answer", "seen")}
    answer = client.post(f"{EDIT}?key=c000", {**again, "reason": "Another reason."})
    assert answer.status_code == 302
    assert (SuiteEdit.objects.get().content or {})["input"] == hostile
    page = client.get(f"{SUITE}case/?key=c000").content.decode()
    assert "<svg onload" not in page
    assert "\u202e" not in page


def test_a_page_of_a_suite_costs_few_queries(
    workflow: Workflow, analyst: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    freeze_suite(workflow, "golden", cases(60), actor=analyst)
    client = login(analyst)
    put(client)
    with django_assert_max_num_queries(22):
        client.get(SUITE)
    with django_assert_max_num_queries(12):
        client.get("/evals/suites/")
