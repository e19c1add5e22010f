"""Evidence packs: complete, the same bytes again, and checkable by a stranger without us."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.core.management import CommandError, call_command

from governance.audit import keys
from governance.audit.checkpoints import make, newest
from governance.audit.models import AuditEvent
from governance.common.time import now
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.evidence import pack_period, pack_promotion
from governance.rollouts.models import PostMortem, Promotion, Rollback
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.rollouts import packs
from tests.rollouts.conftest import open_pilot, work

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_key")]
DAY = timedelta(days=1)


def test_a_stranger_finds_the_pack_valid_unpacked_and_as_one_file(
    packed: Path, folder: Path
) -> None:
    for place in (folder, packed):
        found = packs.check(place)
        assert found.returncode == 0, found.stdout + found.stderr
        assert "Valid: everything in this pack holds." in found.stdout
        assert "BAD" not in found.stdout
    assert "2 decisions are signed" in found.stdout
    event = AuditEvent.objects.get(verb="evidence.packed")
    assert event.object_digest == "sha256:" + hashlib.sha256(packed.read_bytes()).hexdigest()
    assert event.object_digest in found.stdout  # so that a reader can compare the two


def test_the_rollback_of_another_promotion_of_the_same_release_is_not_in_it(
    undone: Promotion, builder: User, owner: User, cfo: User, workflow: Workflow,
    approve: Callable[..., Promotion],
) -> None:  # fmt: skip
    first = Rollback.objects.get()
    again = services.propose_promotion(
        undone.release, actor=builder, rationale="Once more.", fixes=PostMortem.objects.get()
    )
    work()
    again.refresh_from_db()
    approve(again, owner)
    approve(again, cfo)
    second = services.roll_back(workflow, actor=owner, reason="Bad again.")
    for asked, its_own in ((undone, first), (again, second)):
        out = io.BytesIO()
        pack_promotion(asked, out, actor=TESTER)
        with ZipFile(out) as pack:
            held = {
                name.split("rollbacks/")[1].split("/")[0]
                for name in pack.namelist()
                if "rollbacks/" in name
            }
        assert held == {str(its_own.pk)}


def test_it_holds_everything_that_was_decided_on_and_by_whom(
    folder: Path, undone: Promotion
) -> None:
    def name(kind: str, digest: str | None) -> Path:
        assert digest
        return folder / kind / f"{digest[7:]}.json"

    assert name("releases", undone.release_id).read_text() == undone.release.manifest_text
    assert name("releases", undone.base_id).exists()
    for digest in undone.release.manifest["slots"].values():
        assert name("components", digest).exists()
    report = undone.gate_report
    assert report is not None
    assert name("gate-reports", report.pk).read_text() == report.content_text
    assert name("gate-policies", report.policy.digest).exists()
    here = folder / "promotions" / str(undone.pk)
    decisions = json.loads((here / "decisions.json").read_text())
    assert [row["meaning"] for row in decisions] == ["kpi_owner", "second_approver"]
    assert all(name("signatures", row["signature"]).exists() for row in decisions)
    assert "escalation" in (here / "changes.txt").read_text().lower()
    (rollback,) = (folder / "rollbacks").iterdir()
    told = json.loads((rollback / "rollback.json").read_text())
    assert told["post_mortem"]["id"] == PostMortem.objects.get().pk
    changes = json.loads((folder / "live-changes.json").read_text())
    assert [row["cause"] for row in changes] == ["promotion", "rollback"]
    events = packs.lines_of(folder / "audit/events.jsonl")
    verbs = {json.loads(event["body"])["verb"] for event in events}
    assert {
        "promotion.proposed", "promotion.gate_passed", "promotion.approved", "promotion.went_live",
        "release.registered", "gate.judged", "gate_policy.confirmed", "suite.frozen",
        "eval_run.finished", "rollback.done", "post_mortem.opened",
    } <= verbs  # fmt: skip
    proofs = packs.lines_of(folder / "audit/proofs.jsonl")
    assert [proof["seq"] for proof in proofs] == [event["seq"] for event in events]


def test_without_a_checkpoint_it_says_that_it_is_incomplete(
    undone: Promotion, tmp_path: Path
) -> None:
    keys.key_file().unlink()
    path = tmp_path / "pack.zip"
    with path.open("w+b") as out:
        assert pack_promotion(undone, out, actor=TESTER).checkpoint is None
    found = packs.check(path)
    assert found.returncode == 2, found.stdout
    assert "No checkpoint covers this pack" in found.stdout
    assert "Incomplete: nothing is wrong" in found.stdout


def test_the_same_pack_made_again_has_the_same_bytes(undone: Promotion, workflow: Workflow) -> None:
    start, end = now() - DAY, now() + timedelta(seconds=1)
    found: list[bytes] = []
    for _ in range(2):
        out = io.BytesIO()
        pack_promotion(undone, out, actor=TESTER)
        found.append(out.getvalue())
        make()
    assert found[0] == found[1]
    count = newest()
    for _ in range(2):
        out = io.BytesIO()
        end_of_story = AuditEvent.objects.filter(verb="evidence.packed").order_by("seq")[0]
        pack_period([workflow], start, end_of_story.occurred_at, out, actor=TESTER, whole=True)
        found.append(out.getvalue())
    assert found[2] == found[3]
    assert newest() == count, "nothing new was to be covered, so no checkpoint was made"
    assert end > start


def test_a_period_holds_its_population_and_a_clean_run_of_the_chain(
    undone: Promotion, workflow: Workflow, tmp_path: Path
) -> None:
    path = tmp_path / "period.zip"
    with path.open("w+b") as out:
        packed = pack_period([workflow], now() - DAY, now() + DAY, out, actor=TESTER, whole=True)
    found = packs.check(path)
    assert found.returncode == 0, found.stdout
    assert "3 changes of what was live follow on each other without a gap" in found.stdout
    count = AuditEvent.objects.exclude(verb="evidence.packed").count()
    assert f"{count} of {count} audit events are under the root" in found.stdout
    assert packed.events == count
    with ZipFile(path) as file:
        rows = file.read("population.csv").decode().splitlines()
        assert len(rows) == 4
        assert json.loads(file.read("population.json"))["complete"] is True
        assert "'=cmd" in rows[3]
    folder = packs.unpack(path, tmp_path / "period")
    packs.rewrite_json(folder, "live-changes.json", lambda rows: rows.pop(1))
    found = packs.check(folder)
    assert found.returncode == 1
    assert "does not follow on change 1" in found.stdout


def test_a_long_period_proves_the_ends_of_its_runs_only(
    undone: Promotion, workflow: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governance.rollouts.evidence.packing.EACH_PROVED", 3)
    path = tmp_path / "period.zip"
    with path.open("w+b") as out:
        pack_period([workflow], now() - DAY, now() + DAY, out, actor=TESTER, whole=True)
    with ZipFile(path) as file:
        assert len(file.read("audit/proofs.jsonl").splitlines()) == 1
    assert packs.check(path).returncode == 0
    folder = packs.unpack(path, tmp_path / "period")
    (folder / "audit/proofs.jsonl").write_text("")
    packs.forge_manifest(folder, "audit/proofs.jsonl")
    assert packs.check(folder).returncode == 2


def test_somebody_who_owns_one_workflow_gets_its_events_only(
    undone: Promotion, workflow: Workflow, tmp_path: Path
) -> None:
    path = tmp_path / "period.zip"
    with path.open("w+b") as out:
        pack_period([workflow], now() - DAY, now() + DAY, out, actor=TESTER, whole=False)
    assert packs.check(path).returncode == 0
    with ZipFile(path) as file:
        bodies = [
            json.loads(json.loads(x)["body"]) for x in file.read("audit/events.jsonl").splitlines()
        ]
    assert {body["workflow"] for body in bodies} == {workflow.slug}


def test_a_corpus_of_100_000_documents_is_packed_in_seconds(
    live: Release, make_release: Callable[..., Release], owner: User, workflow: Workflow,
    model: Callable[..., dict[str, Any]], builder: User, tmp_path: Path,
) -> None:  # fmt: skip
    def corpus(first_number: int) -> dict[str, Any]:
        return {
            "corpus": "kb",
            "documents": [
                {"id": f"doc-{n:06}", "sha256": hashlib.sha256(str(n).encode()).hexdigest()}
                for n in range(first_number, first_number + 100_000)
            ],
            "access": ["public"],
        }

    releases = [make_release(model=model(60), retrieval=corpus(start)) for start in (0, 500)]
    asked = Promotion.objects.create(
        workflow=workflow, release=releases[1], base=releases[0], state=Promotion.State.WITHDRAWN,
        risk="medium", rationale="A larger corpus.", requested_by=builder,
        requested_by_label="builder", requested_at=now(), closed_at=now(),
    )  # fmt: skip
    path = tmp_path / "large.zip"
    started = time.monotonic()
    with path.open("w+b") as out:
        pack_promotion(asked, out, actor=TESTER)
    assert time.monotonic() - started < 60
    found = packs.check(path)
    assert found.returncode == 0, found.stdout


def test_the_command_writes_a_pack_and_never_over_another_file(
    undone: Promotion, tmp_path: Path
) -> None:
    out = tmp_path / "from-shell.zip"
    said = io.StringIO()
    call_command("evidence_pack", str(undone.pk), "--out", str(out), stdout=said)
    assert "sha256:" in said.getvalue()
    assert packs.check(out).returncode == 0
    with pytest.raises(CommandError, match="there already"):
        call_command("evidence_pack", str(undone.pk), "--out", str(out))
    quarter = f"{now().year}-Q{(now().month + 2) // 3}"
    other = tmp_path / "quarter.zip"
    call_command("evidence_pack", "--period", quarter, "--out", str(other), stdout=io.StringIO())
    assert packs.check(other).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("*.half")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Name one promotion, or one --period"),
        (["1", "--period", "2026-Q4"], "Name one promotion, or one --period"),
        (["999999"], "no promotion 999999"),
        (["--period", "2026-Q9"], "is no period"),
        (["--period", "2026-Q4", "--workflow", "nothing"], "no workflow 'nothing'"),
        (["1", "--workflow", "x"], "goes with --period"),
    ],
)
def test_the_command_says_what_is_wrong(db: None, words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("evidence_pack", *words)


def test_what_an_earlier_decision_stood_on_is_in_it_too(
    propose: Callable[..., Promotion], owner: User, tmp_path: Path
) -> None:
    """A pilot was opened on one report; its gate was asked again and made another one."""
    asked = propose(52)
    first = asked.gate_report_id
    open_pilot(asked, owner)
    services.ask_gate_again(asked.pk, actor=owner)
    work()
    asked.refresh_from_db()
    assert asked.gate_report_id != first
    path = tmp_path / "pack.zip"
    with path.open("w+b") as out:
        pack_promotion(asked, out, actor=TESTER)
    found = packs.check(path)
    assert found.returncode == 0, found.stdout
    opened = packs.unpack(path, tmp_path / "opened")
    reports = {file.stem for file in (opened / "gate-reports").iterdir()}
    assert {str(first)[7:], str(asked.gate_report_id)[7:]} <= reports
    lost = opened / "gate-reports" / f"{str(first)[7:]}.json"
    lost.unlink()
    packs.forge_manifest(opened, f"gate-reports/{lost.name}")
    assert "stands on something of gate-reports" in packs.check(opened).stdout
