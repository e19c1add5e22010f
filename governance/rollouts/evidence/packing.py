"""Making an evidence pack: one consistent look at the database, written as a stream."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from django.db import connection, transaction
from django.db.models.functions import TruncDate

from governance import audit
from governance.audit import Actor, checkpoints
from governance.audit.chain import HasActor
from governance.audit.checkpoint_models import Checkpoint
from governance.audit.models import AuditEvent, AuditQuerySet
from governance.audit.sinks import file_name, file_text
from governance.common.csv_cells import safe_cell
from governance.common.errors import GovernanceError
from governance.evals.models import GatePolicy, GateReport
from governance.people.models import Signature
from governance.releases.models import Component, Release
from governance.rollouts.evidence import facts
from governance.rollouts.evidence.archive import Archive, sha256_of
from governance.rollouts.evidence.belonging import (
    about,
    changes_of,
    rollbacks_of,
    touched,
    within,
)
from governance.rollouts.models import Promotion, Rollback
from governance.rollouts.population import COLUMNS, Population, population, row_of
from governance.rollouts.recovery_models import Drill, RecallRow
from governance.workflows.models import Workflow

HERE = Path(__file__).parent
EACH_PROVED = 1_000  # events; above that, one proof per unbroken run of the chain
RECALL_COLUMNS = (
    "case_id", "runs", "first_at", "last_at", "amount", "outcome", "escalated", "state",
    "decided_by", "decided_at", "note",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packed:
    """A finished pack, and what the audit chain keeps of it."""

    name: str  # of the file
    sha256: str  # of its bytes
    manifest: str  # digest of what its manifest says
    size: int  # bytes
    files: int
    events: int
    checkpoint: int | None  # None: no checkpoint covers its events


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a pack is about."""

    name: str
    label: str
    subject: dict[str, Any]
    promotions: list[int]
    rollbacks: list[int]
    drills: list[int]
    changes: Population
    events: AuditQuerySet
    workflow: str


def pack_promotion(promotion: Promotion, out: IO[bytes], *, actor: Actor | HasActor) -> Packed:
    """Write everything behind one promotion to `out`, and its SHA-256 into the audit chain."""
    workflow = promotion.workflow
    rollbacks = rollbacks_of(promotion)
    mine = about([promotion.pk], list(rollbacks.values_list("pk", flat=True)), [])
    _cover(mine.exclude(verb="evidence.packed"))
    with _snapshot():
        ended = list(rollbacks.order_by("pk").values_list("pk", flat=True))
        scope = _Scope(
            name=f"countersign-evidence-promotion-{promotion.pk}.zip",
            label=f"promotion {promotion.pk}",
            subject={"kind": "promotion", "promotion": promotion.pk, "workflow": workflow.slug},
            promotions=[promotion.pk],
            rollbacks=ended,
            drills=[],
            changes=changes_of(promotion, ended),
            events=about([promotion.pk], ended, []).exclude(verb="evidence.packed"),
            workflow=workflow.slug,
        )
        packed = _write(scope, out)
    return _recorded(packed, scope, promotion, actor)


def pack_period(
    workflows: Iterable[Workflow],
    start: datetime,
    end: datetime,
    out: IO[bytes],
    *,
    actor: Actor | HasActor,
    whole: bool,
) -> Packed:
    """Write everything that was asked, decided or moved in a period, and record the pack.

    Args:
        start, end: from the first moment up to, not with, the last.
        whole: every workflow of the installation, and the events that belong to none.
    """
    chosen = list(workflows)
    slugs = sorted(row.slug for row in chosen)
    mine = AuditEvent.objects.all() if whole else AuditEvent.objects.filter(workflow__in=slugs)
    mine = mine.filter(within("occurred_at", start, end))
    _cover(mine | about(*touched(chosen, start, end)).exclude(verb="evidence.packed"))
    with _snapshot():
        promotions, rollbacks, drills = touched(chosen, start, end)
        scope = _Scope(
            name=f"countersign-evidence-{_days(start, end, '-to-')}.zip",
            label=period_label(start, end),
            subject={
                "kind": "period", "from": start.isoformat(), "until": end.isoformat(),
                "workflows": slugs, "every_event": whole,
            },
            promotions=promotions,
            rollbacks=rollbacks,
            drills=drills,
            changes=population(chosen, start, end),
            events=mine | about(promotions, rollbacks, drills).exclude(verb="evidence.packed"),
            workflow=slugs[0] if len(slugs) == 1 and not whole else "",
        )  # fmt: skip
        packed = _write(scope, out)
    return _recorded(packed, scope, None, actor)


def _days(start: datetime, end: datetime, word: str) -> str:
    """The period by its first and its last day."""
    return f"{start:%Y-%m-%d}{word}{end - end.resolution:%Y-%m-%d}"


def period_label(start: datetime, end: datetime) -> str:
    """How the audit chain calls the pack of this period."""
    return _days(start, end, " to ")


def _cover(events: AuditQuerySet) -> None:
    """Have a checkpoint cover these events; without a key the pack says that none does."""
    last = events.order_by("-seq").values_list("seq", flat=True).first()
    if last is None or connection.in_atomic_block or checkpoints.covering(last) is not None:
        return
    with suppress(GovernanceError):
        checkpoints.make()


@contextmanager
def _snapshot() -> Iterator[None]:
    """Every query sees the same moment, however long the writing takes."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def _recorded(
    packed: Packed, scope: _Scope, promotion: Promotion | None, actor: Actor | HasActor
) -> Packed:
    with audit.atomic():
        audit.record(
            "evidence.packed", promotion, actor=actor, workflow=scope.workflow, label=scope.label,
            digest=packed.sha256, manifest=packed.manifest, files=packed.files, bytes=packed.size,
            events=packed.events, checkpoint=packed.checkpoint, subject=scope.subject,
        )  # fmt: skip
    return packed


def _write(scope: _Scope, out: IO[bytes]) -> Packed:
    pack = Archive(out)
    pack.add("README.txt", (HERE / "README.txt").read_text())
    pack.add("verify.py", (HERE / "verify.py").read_text())
    signatures: set[str] = set()
    for key in scope.promotions:
        signatures |= _add_promotion(pack, key)
    for key in scope.rollbacks:
        _add_rollback(pack, key)
    for drill in Drill.objects.filter(pk__in=scope.drills):
        signatures.add(drill.signature_id or "")
    signatures |= _add_changes(pack, scope)
    rows = Signature.objects.filter(pk__in=signatures - {""}).order_by("pk")
    for row in rows.iterator(chunk_size=200):
        pack.add_once(f"signatures/{_hex(row.pk)}.json", row.manifest_text)
    events, checkpoint = _add_events(pack, scope)
    manifest = pack.close(scope.subject)
    out.seek(0, io.SEEK_END)
    size = out.tell()
    return Packed(
        scope.name, sha256_of(out), manifest, size, len(pack), events,
        checkpoint.number if checkpoint else None,
    )  # fmt: skip


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _add_promotion(pack: Archive, key: int) -> set[str]:
    """One promotion with its releases, reports and decisions; returns the signatures it needs."""
    promotion = (
        Promotion.objects.select_related(
            "workflow", "release__workflow", "base__workflow", "gate_report", "gate_policy",
            "standing", "expected_kpi",
        )
        .prefetch_related("freeze_exceptions__window", "freeze_exceptions__granted_by")
        .get(pk=key)
    )  # fmt: skip
    here = f"promotions/{key}"
    told = facts.promotion_facts(promotion)
    pack.add_json(f"{here}/promotion.json", told)
    pack.add(f"{here}/changes.txt", facts.changes_in_words(promotion))
    for release in (promotion.release, promotion.base):
        if release is not None:
            _add_release(pack, release)
    decisions = [
        facts.decision_facts(row)
        for row in promotion.approvals.select_related("on_behalf_of", "delegation").order_by(
            "decided_at", "pk"
        )
    ]
    pack.add_json(f"{here}/decisions.json", decisions)
    report, policy = promotion.gate_report, promotion.gate_policy
    if report is not None:
        pack.add_once(f"gate-reports/{_hex(report.pk)}.json", report.content_text)
        runs = report.runs.select_related("suite").order_by("pk")
        pack.add_json(f"{here}/eval-runs.json", [facts.run_facts(run) for run in runs])
    if policy is not None:
        pack.add_once(f"gate-policies/{_hex(policy.digest)}.json", policy.content_text)
    # Earlier decisions may stand on the report and policy of another round.
    asked_of = {decision["gate_report_digest"] for decision in decisions}
    for other in GateReport.objects.filter(pk__in=asked_of):
        pack.add_once(f"gate-reports/{_hex(other.pk)}.json", other.content_text)
    judged_by = {decision["gate_policy_digest"] for decision in decisions}
    rules = GatePolicy.objects.filter(workflow=promotion.workflow, digest__in=judged_by)
    for rule in rules:
        pack.add_once(f"gate-policies/{_hex(rule.digest)}.json", rule.content_text)
    guards = promotion.guard_decisions.order_by("decided_at", "pk")
    if guards.exists():
        with pack.stream(f"{here}/guard-decisions.jsonl") as file:
            for row in guards.iterator(chunk_size=200):
                file.write(_line(facts.guard_facts(row)))
    standing = told["standing_approval"]
    return {
        *(decision["signature"] for decision in decisions),
        *(decision["delegation_signature"] for decision in decisions),
        *(exception["signature"] for exception in told["freeze_exceptions"]),
        *([standing["signature"]] if standing else []),
    }


def _add_release(pack: Archive, release: Release) -> None:
    pack.add_once(f"releases/{_hex(release.pk)}.json", release.manifest_text)
    for digest in sorted(release.components.values_list("pk", flat=True)):
        path = f"components/{_hex(digest)}.json"
        if path not in pack:  # a corpus can be large: one at a time, each once
            text = Component.objects.values_list("content_text", flat=True).get(pk=digest)
            pack.add(path, text)


def _add_rollback(pack: Archive, key: int) -> None:
    rollback = Rollback.objects.select_related("workflow", "change").get(pk=key)
    told = facts.rollback_facts(rollback)
    pack.add_json(f"rollbacks/{key}/rollback.json", told)
    rows = RecallRow.objects.filter(post_mortem__rollback=rollback).select_related("decided_by")
    if not rows.exists():
        return
    with pack.stream(f"rollbacks/{key}/recall.csv") as file:
        file.write(_csv(RECALL_COLUMNS))
        for row in rows.order_by("case_id").iterator(chunk_size=1_000):
            decided_by = row.decided_by.as_actor().label if row.decided_by else ""
            values = {**facts.columns(row, *RECALL_COLUMNS), "decided_by": decided_by}
            file.write(_csv([safe_cell(values[name]) for name in RECALL_COLUMNS]))


def _csv(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n"


def _add_changes(pack: Archive, scope: _Scope) -> set[str]:
    """The live changes, and for a period the proof that they are all."""
    changes = scope.changes
    told = [facts.change_facts(member) for member in changes.members]
    pack.add_json("live-changes.json", told)
    if scope.subject["kind"] == "period":
        pack.add_json(
            "population.json",
            {
                "complete": changes.holds, "sentence": changes.sentence,
                "faults": list(changes.faults),
                "workflows": [
                    {
                        "workflow": proof.workflow, "changes": proof.changes,
                        "sentence": proof.sentence, "faults": list(proof.faults),
                    }
                    for proof in changes.proofs
                ],
            },
        )  # fmt: skip
        with pack.stream("population.csv") as file:
            file.write(_csv(COLUMNS))
            for member in changes.members:
                file.write(_csv(row_of(member)))
    return {change["signature"] for change in told}


def _add_events(pack: Archive, scope: _Scope) -> tuple[int, Checkpoint | None]:
    """The audit events with their proofs, against the first checkpoint that covers them all."""
    rows = scope.events.order_by("seq").values_list("seq", "hash", "body")
    seqs: list[int] = []
    with pack.stream("audit/events.jsonl") as file:
        for seq, event_hash, body in rows.iterator(chunk_size=500):
            seqs.append(seq)
            file.write(_line({"seq": seq, "hash": event_hash, "body": body}))
    checkpoint = checkpoints.covering(seqs[-1]) if seqs else None
    with pack.stream("audit/proofs.jsonl") as file:
        if checkpoint is not None:
            for proof in checkpoints.inclusion_proofs(_to_prove(seqs), checkpoint):
                file.write(_line(proof.as_json()))
    if checkpoint is not None:
        for row in _checkpoints(seqs[0], checkpoint, scope):
            pack.add(f"audit/checkpoints/{file_name(row.number)}", file_text(row))
    return len(seqs), checkpoint


def _to_prove(seqs: list[int]) -> list[int]:
    """All of a few; of many, the last one of each unbroken run: it names the ones before it."""
    if len(seqs) <= EACH_PROVED:
        return seqs
    present = set(seqs)
    return [seq for seq in seqs if seq + 1 not in present]


def _checkpoints(first: int, last: Checkpoint, scope: _Scope) -> list[Checkpoint]:
    """The one that covers everything; for a period also the last one of each day in it."""
    if scope.subject["kind"] == "promotion":
        return [last]
    within = Checkpoint.objects.filter(last_seq__gte=first, number__lt=last.number)
    daily = within.annotate(day=TruncDate("made_at")).order_by("day", "-number").distinct("day")
    return [*daily.defer("edge", "blocks"), last]
