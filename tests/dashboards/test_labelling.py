"""A sample of what ran: drawn by its rule, labelled case by case, frozen without the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from governance.audit.models import AuditEvent
from governance.common.time import now
from governance.evals.decision_models import SuiteEdit
from governance.evals.models import SuiteVersion
from governance.people.models import User
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
SUITE = "/evals/suites/support-triage/recent/"


def texts(case_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Whoever keeps the mail: every tenth has no label, one has no text."""
    return {
        case_id: {
            "input": {"text": f"Mail {case_id} of ann@example.com"},
            "expected": {} if case_id.endswith("0") else {"answer": "parcel"},
        }
        for case_id in case_ids
        if case_id != "m5"
    }


@pytest.fixture
def ran(workflow: Workflow, settings: Any) -> None:
    settings.EVAL_CASE_SOURCES = {workflow.slug: "tests.dashboards.test_labelling.texts"}
    moment = now() - timedelta(minutes=1)
    partitions.forget()
    partitions.ensure_partitions([moment.date()])
    Receipt.objects.bulk_create(
        Receipt(
            run_id=f"run-{n}", case_id=f"m{n}", day=moment.date(), workflow=workflow,
            segment="de" if n % 4 == 0 else "en", standing="authorised", started_at=moment,
            received_at=moment, body_sha256="0" * 64, outcome="refund", escalated=n == 10,
        )
        for n in range(1, 41)
    )  # fmt: skip
    partitions.forget()


def test_a_sample_is_drawn_labelled_and_frozen(
    ran: None, workflow: Workflow, analyst: User, builder: User, login: Login
) -> None:
    client = login(analyst)
    answer = client.post(f"{SUITE}sample/", {"days": 14, "size": 200})
    assert answer.status_code == 302
    page = client.get(f"{SUITE}labelling/")
    assert (page.context["sample"].drawn, page.context["sample"].labelled) == (39, 35)
    rows = {row["edit"].key: row for row in page.context["rows"]}
    assert set(rows) == {"m10", "m20", "m30", "m40"}
    assert rows["m20"]["content"]["segment"] == "de"
    assert "ann@example.com" not in page.content.decode()
    assert "⟨e-mail⟩" in page.content.decode()
    assert client.post(f"{SUITE}sample/", {"days": 14, "size": 9}).status_code == 409

    def label(who: Client, key: str, **said: Any) -> int:
        return who.post(f"{SUITE}label/", {"edit": rows[key]["edit"].pk, **said}).status_code

    other = login(builder)
    assert label(other, "m20", judged="good") == 302
    assert label(client, "m20", judged="person") == 409
    assert label(client, "m10", judged="good") == 302  # the run asked a person
    assert label(client, "m30", judged="answer", answer=" ") == 422
    assert label(client, "m30", judged="answer", answer="complaint") == 302
    page = client.get(f"{SUITE}labelling/")
    assert page.context["sample"].missing == 1
    frozen = client.post(f"{SUITE}freeze/", {"reason": "This week.", "mark": page.context["mark"]})
    assert frozen.status_code == 302

    suite = SuiteVersion.objects.get(kind="recent")
    assert suite.case_count == 38
    assert suite.sampled_to is not None
    assert suite.sampled_from == suite.sampled_to - timedelta(days=14)
    assert (suite.origin["drawn"], suite.origin["labelled"], suite.origin["by_hand"]) == (39, 38, 3)
    assert set(suite.editors.all()) == {analyst, builder}
    by_key = {case.key: case for case in suite.cases.all()}
    assert by_key["m20"].expected == {"answer": "refund"}
    assert by_key["m20"].labelled_by_label.startswith(str(builder))
    assert by_key["m10"].expected == {"must_escalate": True}
    assert by_key["m30"].expected == {"answer": "complaint"}
    assert "m40" not in by_key
    assert not SuiteEdit.objects.filter(state="open").exists()
    assert SuiteEdit.objects.filter(state="dropped").get().key == "m40"
    verbs = AuditEvent.objects.values_list("verb", flat=True)
    assert list(verbs).count("case.labelled") == 3
    assert "38 of 39 had a label" in client.get(SUITE).content.decode().replace("\n", " ")


def test_what_was_typed_is_kept_when_somebody_was_faster(
    ran: None, analyst: User, builder: User, login: Login
) -> None:
    client = login(analyst)
    client.post(f"{SUITE}sample/", {"days": 7, "size": 100})
    edit = SuiteEdit.objects.get(key="m30", state="open").pk
    login(builder).post(f"{SUITE}label/", {"edit": edit, "judged": "person"})
    answer = client.post(
        f"{SUITE}label/", {"edit": edit, "judged": "answer", "answer": "complaint"},
        headers={"HX-Request": "true"},
    )  # fmt: skip
    assert answer.status_code == 409
    assert "You wrote: complaint" in answer.content.decode()


def test_personal_data_in_a_typed_answer_is_taken_out(
    ran: None, analyst: User, login: Login
) -> None:
    client = login(analyst)
    client.post(f"{SUITE}sample/", {"days": 7, "size": 100})
    edit = SuiteEdit.objects.get(key="m30", state="open").pk
    client.post(
        f"{SUITE}label/", {"edit": edit, "judged": "answer", "answer": "write to eve@example.com"}
    )
    labelled = SuiteEdit.objects.get(key="m30", state="open")
    assert labelled.content is not None
    assert labelled.content["expected"] == {"answer": "write to ⟨e-mail⟩"}


def test_a_long_answer_is_kept_whole(ran: None, analyst: User, login: Login) -> None:
    client = login(analyst)
    client.post(f"{SUITE}sample/", {"days": 7, "size": 1})
    assert "at least one of each segment" in client.get(f"{SUITE}labelling/").content.decode()
    edit = SuiteEdit.objects.filter(state="open", content__expected={})[0].pk
    long = "x" * 6_000
    client.post(f"{SUITE}label/", {"edit": edit, "judged": "answer", "answer": long})
    assert SuiteEdit.objects.filter(content__expected={"answer": long}).count() == 1


def test_without_a_source_the_page_says_what_to_do(
    workflow: Workflow, analyst: User, cfo: User, controller: User, login: Login, settings: Any
) -> None:
    settings.EVAL_CASE_SOURCES = {}
    page = login(analyst).get(f"{SUITE}labelling/").content.decode()
    assert "EVAL_CASE_SOURCES" in page
    assert login(analyst).post(f"{SUITE}sample/", {"days": 7, "size": 9}).status_code == 422
    assert login(analyst).get(SUITE).status_code == 200
    assert login(cfo).post(f"{SUITE}sample/", {"days": 7, "size": 9}).status_code == 403
    assert login(controller).get(f"{SUITE}labelling/").status_code == 404
    golden = SUITE.replace("recent", "golden")
    assert login(analyst).get(f"{golden}labelling/").status_code == 404
