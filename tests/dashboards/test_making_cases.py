"""Make this a case: from an exception or a receipt, scrubbed and shown before it is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from django.test import Client

from governance.common.time import now
from governance.evals.decision_models import SuiteEdit
from governance.people.models import User
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.triage.models import ExceptionCase, ExceptionReceipt
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
URL = "/evals/suites/support-triage/golden/make/"
SECRETS = ("ann@example.com", "DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111")


def texts(case_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Whoever keeps the mail: it knows one."""
    text = f"I am {SECRETS[0]}, pay {SECRETS[1]} or {SECRETS[2]}. Where is it?"
    return {case_id: {"input": {"text": text}} for case_id in case_ids if case_id == "mail-7"}


@pytest.fixture
def receipt(workflow: Workflow) -> Receipt:
    moment = now()
    partitions.forget()
    partitions.ensure_partitions([moment.date()])
    found = Receipt.objects.create(
        run_id="run-1", day=moment.date(), workflow=workflow, standing="authorised",
        started_at=moment, received_at=moment, body_sha256="0" * 64, case_id="mail-7",
        segment="en", outcome="refund", escalated=False,
    )  # fmt: skip
    partitions.forget()
    return found


@pytest.fixture
def exception(workflow: Workflow, receipt: Receipt) -> ExceptionCase:
    moment = now()
    found = ExceptionCase.objects.create(
        workflow=workflow, kind="policy_violation", group_key="g", severity=1,
        title="It promised a refund", first_at=moment, last_at=moment, opened_at=moment,
    )  # fmt: skip
    ExceptionReceipt.objects.create(exception=found, day=receipt.day, run_id=receipt.run_id)
    return found


def saved(page: Any, **changes: Any) -> dict[str, Any]:
    """What the browser sends when the shown form is saved."""
    typed = page.context["typed"]
    names = ("text", "more", "answer", "reason", "category", "segment", "seen")
    return {**{name: typed.get(name, "") for name in names}, **changes}


def test_an_exception_becomes_a_case_without_the_personal_data(
    exception: ExceptionCase, analyst: User, login: Login, settings: Any
) -> None:
    settings.EVAL_CASE_SOURCES = {"support-triage": "tests.dashboards.test_making_cases.texts"}
    client = login(analyst)
    queue = client.get("/exceptions/").content.decode()
    url = f"{URL}?exception={exception.pk}"
    assert url in queue
    page = client.get(url)
    text = page.content.decode()
    for secret in SECRETS:
        assert secret not in text
    assert "Taken out: 1 IBAN, 1 card number, 1 e-mail address." in text
    assert "<mark>⟨e-mail⟩" in text
    assert "it answered “refund”, no person was asked" in text
    answer = client.post(url, saved(page, answer="parcel"))
    assert answer.status_code == 302
    edit = SuiteEdit.objects.get()
    assert (edit.kind, edit.key) == ("golden", f"exception-{exception.pk}")
    content = edit.content or {}
    assert content["source"] == {"kind": "exception", "id": exception.pk}
    assert content["segment"] == "en"
    assert content["input"]["text"].startswith("I am ⟨e-mail⟩, pay ⟨IBAN⟩ or ⟨card⟩.")
    # The exception leads to the case, and asking again does not make a second one.
    queue = client.get("/exceptions/").content.decode()
    assert "The golden case made of it" in queue
    assert client.get(url)["Location"].endswith(f"case/?key=exception-{exception.pk}")


def test_a_receipt_without_texts_is_pasted_scrubbed_and_shown_before_it_is_saved(
    receipt: Receipt, analyst: User, login: Login, settings: Any
) -> None:
    settings.EVAL_CASE_SOURCES = {}
    client = login(analyst)
    url = f"{URL}?on={receipt.day}&run={receipt.run_id}"
    assert (
        url.replace("&", "&amp;")
        in client.get(f"/receipts/{receipt.day}/{receipt.run_id}/").content.decode()
    )
    page = client.get(url)
    assert "EVAL_CASE_SOURCES" in page.content.decode()
    pasted = saved(page, text=f"Write to {SECRETS[0]} please", answer="contact")
    shown = client.post(url, pasted)
    assert shown.status_code == 200
    assert not SuiteEdit.objects.exists()
    assert "Personal data was taken out" in shown.content.decode()
    assert SECRETS[0] not in shown.content.decode()
    assert client.post(url, saved(shown, answer="contact")).status_code == 302
    content = SuiteEdit.objects.get().content or {}
    assert content["input"] == {"text": "Write to ⟨e-mail⟩ please"}
    assert content["source"] == {"kind": "receipt", "id": "run-1"}
    page_of_receipt = client.get(f"/receipts/{receipt.day}/{receipt.run_id}/").content.decode()
    assert "The golden case made of it" in page_of_receipt


def test_only_who_edits_suites_makes_cases_of_what_they_see(
    exception: ExceptionCase, receipt: Receipt, analyst: User, cfo: User, controller: User,
    login: Login,
) -> None:  # fmt: skip
    url = f"{URL}?exception={exception.pk}"
    assert login(cfo).get(url).status_code == 403
    assert "Make this a case" not in login(cfo).get("/exceptions/").content.decode()
    assert login(controller).get(url).status_code == 404
    client = login(analyst)
    for wrong in ("?exception=999999", "?on=x&run=run-1", f"?on={receipt.day}&run=none"):
        assert client.get(f"{URL}{wrong}").status_code == 404, wrong
    assert client.get(url.replace("golden", "adversarial")).status_code == 404
    refused = client.post(url, {"text": "x", "answer": "", "reason": "r"})
    assert refused.status_code == 422
