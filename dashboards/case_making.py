"""From an exception or a run receipt to the case that it should have been."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse

from dashboards.suite_page import Place
from dashboards.templatetags.receipts import receipt_url
from dashboards.windows import whole_number, words
from governance.evals.cases import Row, is_storable
from governance.evals.decision_models import SuiteEdit
from governance.evals.models import Case, SuiteVersion
from governance.evals.sampling import has_source, texts_of
from governance.people.models import User
from governance.receipts.models import Receipt
from governance.triage.models import ExceptionCase, ExceptionReceipt

MOST_TRIED = 20  # receipts of one exception whose text is asked for
LONGEST_KEY = 120
GOLDEN = SuiteVersion.Kind.GOLDEN


@dataclass(frozen=True, slots=True)
class Origin:
    """What a case is made from, and what is known of it; `row` has no key of its own to choose."""

    title: str
    url: str
    row: Row
    answered: str
    has_text: bool
    has_source: bool


def origin_of(user: User, place: Place, asked: QueryDict) -> Origin:
    """Return what the address names: `?exception=17`, or `?on=2026-11-22&run=…`.

    Raises:
        Http404: nothing of this workflow that this person may see.
    """
    if (pk := whole_number(asked, "exception")) is not None:
        rows = ExceptionCase.objects.visible_to(user).filter(workflow=place.workflow)
        return _of_exception(place, get_object_or_404(rows, pk=pk))
    try:
        on = date.fromisoformat(asked.get("on", ""))
    except ValueError as error:
        raise Http404("There is no such day.") from error
    receipts = Receipt.objects.visible_to(user).filter(workflow=place.workflow)
    found = get_object_or_404(receipts, day=on, run_id=words(asked, "run"))
    return _of_receipt(place, found)


def _of_exception(place: Place, exception: ExceptionCase) -> Origin:
    keys = ExceptionReceipt.objects.filter(exception=exception).order_by("-day", "-pk")
    found = list(keys.values_list("day", "run_id")[:MOST_TRIED])
    receipts = [
        receipt
        for receipt in Receipt.objects.filter(
            workflow=place.workflow, day__in={on for on, _ in found},
            run_id__in={run_id for _, run_id in found},
        )[:MOST_TRIED]
        if receipt.case_id
    ]  # fmt: skip
    texts = _texts(place, receipts)
    chosen = next((one for one in receipts if one.case_id in texts), None)
    if chosen is None and receipts:
        chosen = receipts[0]
    return Origin(
        f"exception {exception.pk}: {exception.title}",
        f"{reverse('exceptions')}?state=all#exception-{exception.pk}",
        _row(
            f"exception-{exception.pk}", chosen, texts,
            reason=f"From an exception: {exception.title}",
            source={"kind": "exception", "id": exception.pk},
        ),
        _answered(chosen),
        chosen is not None and chosen.case_id in texts,
        has_source(place.workflow),
    )  # fmt: skip


def _of_receipt(place: Place, receipt: Receipt) -> Origin:
    texts = _texts(place, [receipt])
    return Origin(
        f"run receipt {receipt.run_id}",
        receipt_url(receipt),
        _row(
            receipt_key(receipt.run_id), receipt, texts,
            reason=f"It ran on {receipt.day.isoformat()} and should be answered right.",
            source={"kind": "receipt", "id": receipt.run_id},
        ),
        _answered(receipt),
        receipt.case_id in texts,
        has_source(place.workflow),
    )  # fmt: skip


def _texts(place: Place, receipts: Iterable[Receipt]) -> dict[str, Any]:
    """The texts behind receipts, where the installation says who keeps them."""
    case_ids = [receipt.case_id for receipt in receipts if receipt.case_id]
    if not case_ids or not has_source(place.workflow):
        return {}
    return dict(texts_of(place.workflow, case_ids))


def _row(
    key: str, receipt: Receipt | None, texts: dict[str, Any], *, reason: str, source: Row
) -> Row:
    known = texts.get(receipt.case_id, {}) if receipt is not None else {}
    return {
        "key": key,
        "input": dict(known.get("input") or {}),
        "expected": dict(known.get("expected") or {}),
        "category": str(known.get("category") or ""),
        "segment": str(known.get("segment") or (receipt.segment if receipt is not None else "")),
        "cluster": "",
        "channel": "",
        "must_pass": False,
        "reason": reason[:300],
        "source": source,
        "labelled_by_label": "",
    }


def _answered(receipt: Receipt | None) -> str:
    """What the run did, as far as its receipt says."""
    if receipt is None:
        return ""
    said = []
    if receipt.outcome:
        said.append(f"it answered “{receipt.outcome}”")
    if receipt.escalated is not None:
        said.append("a person was asked" if receipt.escalated else "no person was asked")
    if receipt.violations:
        said.append(f"it broke {', '.join(receipt.violations[:5])}")
    return ", ".join(said)


def receipt_key(run_id: str) -> str:
    """The key of the case that is made from a run; long ones are hashed."""
    key = f"receipt-{run_id}"
    if len(key) <= LONGEST_KEY and is_storable(key):
        return key
    return f"receipt-{hashlib.sha256(run_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def made_cases(wanted: Iterable[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Return where the cases stand that were made under these (workflow id, key). Two queries."""
    pairs = set(wanted)
    if not pairs:
        return {}
    workflows, keys = {workflow for workflow, _ in pairs}, {key for _, key in pairs}
    newest = (
        SuiteVersion.objects.filter(workflow__in=workflows, kind=GOLDEN)
        .order_by("workflow_id", "-version")
        .distinct("workflow_id")
    )
    frozen = Case.objects.filter(suite__in=newest.values("pk"), key__in=keys)
    edits = SuiteEdit.objects.filter(
        workflow__in=workflows, kind=GOLDEN, state=SuiteEdit.State.OPEN, key__in=keys
    )
    found = {}
    for workflow, slug, key in (
        *frozen.values_list("suite__workflow_id", "suite__workflow__slug", "key"),
        *edits.values_list("workflow_id", "workflow__slug", "key"),
    ):
        url = reverse("suite-case", args=(slug, GOLDEN))
        found[workflow, key] = f"{url}?{urlencode({'key': key})}"
    return found


def make_url(slug: str, **asked: object) -> str:
    """Where a case is made from an exception or a run."""
    return f"{reverse('case-make', args=(slug, GOLDEN))}?{urlencode(asked)}"
