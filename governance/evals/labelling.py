"""A sample of what really ran: drawn by its rule, labelled by people, frozen as a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q

from governance import audit
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.actors import lock
from governance.evals.cases import Row, clean_case, settled
from governance.evals.decision_models import SuiteEdit
from governance.evals.drafts import draft_mark, open_edits
from governance.evals.models import SuiteVersion
from governance.evals.sampling import draw
from governance.evals.scrubbing import scrubbed
from governance.evals.suites import store_version
from governance.people.models import User
from governance.people.permissions import require
from governance.receipts.models import Receipt
from governance.receipts.services import redaction_patterns
from governance.workflows.models import Workflow

RECENT = SuiteVersion.Kind.RECENT
State = SuiteEdit.State
GOOD, ANSWER, PERSON = "good", "answer", "person"
UNLABELLED = Q(content__expected={})


@dataclass(frozen=True, slots=True)
class Sample:
    """How far the labelling of a sample is."""

    drawn: int
    labelled: int

    @property
    def share(self) -> float | None:
        return self.labelled / self.drawn if self.drawn else None

    @property
    def missing(self) -> int:
        return self.drawn - self.labelled


def sample_of(workflow: Workflow) -> Sample:
    """Return how many cases wait in the draft of the recent suite, and how many have a label."""
    found = (
        open_edits(workflow, RECENT)
        .order_by()
        .aggregate(drawn=Count("pk"), missing=Count("pk", filter=UNLABELLED))
    )
    return Sample(found["drawn"], found["drawn"] - found["missing"])


@audit.atomic()
def draw_sample(workflow: Workflow, *, actor: User, days: int = 14, size: int = 200) -> Sample:
    """Draw a sample by the rule; what has no label yet waits for a person.

    Raises:
        StateConflictError: a sample waits already.
        InvalidInputError: no source of texts, or nothing of it ran.
        NotAllowedError: somebody who does not edit suites.
    """
    require(actor, "suite.freeze", workflow)
    lock(workflow)
    if open_edits(workflow, RECENT).exists():
        raise StateConflictError("A sample waits already. Freeze it, or put it aside first.")
    drawn = draw(workflow, days=days, size=size)
    if not drawn.rows:
        raise InvalidInputError(f"Of nothing that ran in the last {days} days is the text known.")
    answers = _answers(workflow, [row["key"] for row in drawn.rows], drawn.since, drawn.until)
    label, moment = actor.as_actor().label, now()
    window: dict[str, Any] = {"from": drawn.since.isoformat(), "to": drawn.until.isoformat()}
    SuiteEdit.objects.bulk_create(
        [
            SuiteEdit(
                workflow=workflow, kind=RECENT, key=row["key"], edited_by=actor,
                edited_by_label=label, edited_at=moment,
                content=_stored(row, {**drawn.rule, **window, **answers.get(row["key"], {})}),
            )
            for row in drawn.rows
        ],
        batch_size=1_000,
    )  # fmt: skip
    found = sample_of(workflow)
    audit.record(
        "suite.sampled", workflow, actor=actor, workflow=workflow.slug, suite=str(RECENT),
        cases=found.drawn, labelled=found.labelled, label="recent suite", rule=drawn.rule, **window,
    )  # fmt: skip
    return found


def _stored(row: Row, source: Mapping[str, Any]) -> Row:
    """A drawn case as it is stored; one that nobody labelled yet keeps an empty `expected`."""
    has_label = bool(row["expected"])
    whole = {**row, "source": dict(source), "must_pass": False}
    clean = clean_case(whole if has_label else {**whole, "expected": {"must_escalate": True}})
    return clean if has_label else {**clean, "expected": {}}


def _answers(
    workflow: Workflow, case_ids: Sequence[str], since: datetime, until: datetime
) -> dict[str, dict[str, Any]]:
    """What the newest run of each case did: a person judges it, or says better."""
    rows = (
        Receipt.objects.filter(
            workflow=workflow, case_id__in=case_ids, started_at__gte=since, started_at__lt=until,
            day__gte=since.date(), day__lte=until.date(),
        )
        .order_by("started_at")
        .values_list("case_id", "run_id", "outcome", "escalated")
    )  # fmt: skip
    return {
        case_id: {"run": run_id, "answered": outcome, "escalated": bool(escalated)}
        for case_id, run_id, outcome, escalated in rows
    }


@audit.atomic()
def label_case(pk: int, workflow: Workflow, *, actor: User, judged: str, answer: str) -> SuiteEdit:
    """Say what a good release does with a drawn case.

    Args:
        judged: `good` (what the run did was right), `answer` (this is the right one), or `person`
            (somebody must be asked).

    Raises:
        StateConflictError: the sample is gone, or somebody labelled the case meanwhile.
        InvalidInputError: no answer, or nothing that could be judged.
        NotAllowedError: somebody who does not edit suites.
    """
    require(actor, "suite.freeze", workflow)
    lock(workflow)
    edit = SuiteEdit.objects.filter(workflow=workflow, kind=RECENT, pk=pk).first()
    if edit is None or edit.state != State.OPEN or edit.content is None:
        raise StateConflictError("Somebody labelled this case meanwhile, or the sample is gone.")
    content = dict(edit.content)
    content["expected"] = _judged(content, judged, answer.strip())
    content["labelled_by_label"] = actor.as_actor().label
    content = clean_case(scrubbed(content, redaction_patterns()))
    edit.state = State.REPLACED
    edit.save(update_fields=["state"])
    labelled = SuiteEdit.objects.create(
        workflow=workflow, kind=RECENT, key=edit.key, content=content, edited_by=actor,
        edited_by_label=actor.as_actor().label, edited_at=now(),
    )  # fmt: skip
    audit.record(
        "case.labelled", labelled, actor=actor, workflow=workflow.slug, judged=judged,
        expected=content["expected"], label=f"recent {edit.key}",
    )  # fmt: skip
    return labelled


def _judged(content: Row, judged: str, answer: str) -> Row:
    source = content["source"]
    if judged == PERSON:
        return {"must_escalate": True}
    if judged == GOOD:
        if source.get("escalated"):
            return {"must_escalate": True}
        if not source.get("answered"):
            raise InvalidInputError("The run reported no answer: write the right one.")
        return {"answer": source["answered"]}
    if judged != ANSWER or not answer:
        raise InvalidInputError("Write the right answer.")
    return {"answer": answer}


@audit.atomic()
def freeze_sample(workflow: Workflow, *, actor: User, reason: str, mark: str) -> SuiteVersion:
    """Freeze the labelled cases of the sample as a snapshot; those without a label are left out.

    Raises:
        StateConflictError: the sample is another one by now, or gone.
        InvalidInputError: no case of it has a label.
    """
    require(actor, "suite.freeze", workflow)
    lock(workflow)
    if draft_mark(workflow, RECENT) != mark:
        raise StateConflictError("The sample changed since you opened it. Look at it again.")
    edits = list(open_edits(workflow, RECENT).select_related("edited_by"))
    labelled = [edit for edit in edits if edit.content and edit.content["expected"]]
    if not labelled:
        raise InvalidInputError("No case of the sample has a label yet.")
    contents = [edit.content for edit in labelled if edit.content is not None]
    source = contents[0]["source"]
    by_hand = [edit for edit in labelled if edit.content and edit.content["labelled_by_label"]]
    suite = store_version(
        workflow, RECENT, settled({row["key"]: row for row in contents}), actor=actor,
        editors={edit.edited_by for edit in by_hand if edit.edited_by is not None}, reason=reason,
        sampled_from=datetime.fromisoformat(source["from"]),
        sampled_to=datetime.fromisoformat(source["to"]),
        origin={
            **{name: source[name] for name in ("kind", "seed", "days", "size")},
            "drawn": len(edits), "labelled": len(labelled), "by_hand": len(by_hand),
        },
    )  # fmt: skip
    frozen = [edit.pk for edit in labelled]
    open_edits(workflow, RECENT).filter(pk__in=frozen).update(state=State.FROZEN, version=suite)
    open_edits(workflow, RECENT).update(state=State.DROPPED)
    return suite
