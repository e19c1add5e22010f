"""Evidence packs: complete, the same bytes again, and checkable by a stranger without us."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
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
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, settings: Any) -> None:
    settings.AUDIT_KEY_FILE = str(tmp_path / "keys" / "key.pem")
    settings.AUDIT_SINK_DIR = str(tmp_path / "sink")
    keys.create_key(keys.key_file())


@pytest.fixture
def promotion(
    workflow: Workflow, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User, cfo: User,
) -> Promotion:  # fmt: skip
    """High risk, so approved by two; live, then rolled back."""
    asked = propose(threshold=0.2)
    approve(asked, owner)
    approve(asked, cfo)
    services.roll_back(workflow, actor=owner, reason="=cmd|'/C calc'!A0")
    asked.refresh_from_db()
    assert asked.state == Promotion.State.ROLLED_BACK
    return asked


@pytest.fixture
def packed(promotion: Promotion, tmp_path: Path) -> Path:
    path = tmp_path / "pack.zip"
    with path.open("w+b") as out:
        pack_promotion(promotion, out, actor=TESTER)
    return path


@pytest.fixture
def folder(packed: Path, tmp_path: Path) -> Path:
    return packs.unpack(packed, tmp_path / "unpacked")


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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
    promotion: Promotion, builder: User, owner: User, cfo: User, workflow: Workflow,
    approve: Callable[..., Promotion],
) -> None:  # fmt: skip
    first = Rollback.objects.get()
    again = services.propose_promotion(
        promotion.release, actor=builder, rationale="Once more.", fixes=PostMortem.objects.get()
    )
    work()
    again.refresh_from_db()
    approve(again, owner)
    approve(again, cfo)
    second = services.roll_back(workflow, actor=owner, reason="Bad again.")
    for asked, its_own in ((promotion, first), (again, second)):
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
    folder: Path, promotion: Promotion
) -> None:
    def name(kind: str, digest: str | None) -> Path:
        assert digest
        return folder / kind / f"{digest[7:]}.json"

    assert name("releases", promotion.release_id).read_text() == promotion.release.manifest_text
    assert name("releases", promotion.base_id).exists()
    for digest in promotion.release.manifest["slots"].values():
        assert name("components", digest).exists()
    report = promotion.gate_report
    assert report is not None
    assert name("gate-reports", report.pk).read_text() == report.content_text
    assert name("gate-policies", report.policy.digest).exists()
    here = folder / "promotions" / str(promotion.pk)
    decisions = json.loads((here / "decisions.json").read_text())
    assert [row["meaning"] for row in decisions] == ["kpi_owner", "second_approver"]
    assert all(name("signatures", row["signature"]).exists() for row in decisions)
    assert "escalation" in (here / "changes.txt").read_text().lower()
    (rollback,) = (folder / "rollbacks").iterdir()
    told = json.loads((rollback / "rollback.json").read_text())
    assert told["post_mortem"]["id"] == PostMortem.objects.get().pk
    changes = json.loads((folder / "live-changes.json").read_text())
    assert [row["cause"] for row in changes] == ["promotion", "rollback"]
    events = lines_of(folder / "audit/events.jsonl")
    verbs = {json.loads(event["body"])["verb"] for event in events}
    assert {
        "promotion.proposed", "promotion.gate_passed", "promotion.approved", "promotion.went_live",
        "release.registered", "gate.judged", "gate_policy.confirmed", "suite.frozen",
        "eval_run.finished", "rollback.done", "post_mortem.opened",
    } <= verbs  # fmt: skip
    proofs = lines_of(folder / "audit/proofs.jsonl")
    assert [proof["seq"] for proof in proofs] == [event["seq"] for event in events]


def test_one_changed_byte_in_any_file_is_found_and_the_file_named(
    folder: Path, tmp_path: Path
) -> None:
    kinds = {
        path.relative_to(folder).parts[0] if path.parent != folder else path.name: path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    everything = {
        *kinds.values(),
        *(folder / "audit").glob("*.jsonl"),
        *(folder / "promotions").glob("*/*"),
        *(folder / "rollbacks").glob("*/*"),
    }
    assert len(everything) >= 15
    for path in sorted(everything):
        name = path.relative_to(folder).as_posix()
        copy = tmp_path / "changed"
        shutil.copytree(folder, copy)
        packs.flip_a_byte(copy / name)
        found = packs.check(copy)
        assert found.returncode == 1, (name, found.stdout)
        assert name in found.stdout + found.stderr, (name, found.stdout)
        shutil.rmtree(copy)


def test_a_lost_or_slipped_in_file_is_found(folder: Path) -> None:
    (folder / "signatures" / "extra.json").write_text("{}")
    found = packs.check(folder)
    assert found.returncode == 1
    assert "signatures/extra.json: is not in the manifest" in found.stdout
    (folder / "signatures" / "extra.json").unlink()
    (folder / "live-changes.json").unlink()
    found = packs.check(folder)
    assert found.returncode == 1
    assert "live-changes.json: is missing" in found.stdout


def first(value: Any, **changes: Any) -> None:
    value[0].update(changes)


FORGERIES: list[tuple[str, Callable[[Any], Any], str]] = [
    ("promotions/*/decisions.json", lambda v: first(v, approver_label="CEO"), "another person"),
    ("promotions/*/decisions.json", lambda v: first(v, reason="Sure."), "another reason"),
    (
        "promotions/*/decisions.json",
        lambda v: first(v, candidate_digest="sha256:" + "0" * 64),
        "another candidate_digest",
    ),
    ("promotions/*/decisions.json", lambda v: first(v, signature=""), "is not signed"),
    (
        "promotions/*/promotion.json",
        lambda v: v.update(gate_verdict="fail"),
        "says another verdict",
    ),
    (
        "promotions/*/promotion.json",
        lambda v: v["candidate"].update(digest=v["base"]["digest"]),
        "holds for another release",
    ),
    (
        "promotions/*/eval-runs.json",
        lambda v: [run["summary"].update(digest="sha256:" + "1" * 64) for run in v],
        "is not what the gate judged",
    ),
    ("live-changes.json", lambda v: first(v, to="sha256:" + "2" * 64), "tells something else"),
    ("live-changes.json", lambda v: first(v, audit_event=1), "told by no audit event"),
]


def test_a_forger_who_mends_the_manifest_too_is_found(folder: Path, tmp_path: Path) -> None:
    for name, change, said in FORGERIES:
        copy = tmp_path / "forged"
        shutil.copytree(folder, copy)
        (path,) = copy.glob(name)
        packs.rewrite_json(copy, path.relative_to(copy).as_posix(), change)
        found = packs.check(copy)
        assert found.returncode == 1, (name, said, found.stdout)
        assert said in found.stdout, (name, said, found.stdout)
        assert path.name in found.stdout
        shutil.rmtree(copy)


def test_what_its_digest_names_cannot_be_changed_even_with_the_manifest(
    folder: Path, tmp_path: Path
) -> None:
    for kind in ("components", "releases", "gate-reports", "gate-policies", "signatures"):
        copy = tmp_path / "forged"
        shutil.copytree(folder, copy)
        path = sorted((copy / kind).iterdir())[0]
        packs.flip_a_byte(path)
        packs.forge_manifest(copy, f"{kind}/{path.name}")
        found = packs.check(copy)
        assert found.returncode == 1
        assert f"{kind}/{path.name}: its bytes are not what its name" in found.stdout
        shutil.rmtree(copy)


def test_a_rewritten_event_or_proof_or_checkpoint_is_found_even_with_the_manifest(
    folder: Path, tmp_path: Path
) -> None:
    events = folder / "audit/events.jsonl"
    lines = events.read_text().splitlines()
    event = json.loads(lines[0])
    body = json.loads(event["body"])
    body["reason"] = "another"
    event["body"] = json.dumps(body, sort_keys=True, separators=(",", ":"))
    saved = events.read_bytes()
    for rehashed in (False, True):
        if rehashed:
            text = b"countersign.audit.v1\0" + event["body"].encode()
            event["hash"] = "sha256:" + hashlib.sha256(text).hexdigest()
        events.write_text("\n".join([json.dumps(event), *lines[1:]]) + "\n")
        packs.forge_manifest(folder, "audit/events.jsonl")
        found = packs.check(folder)
        assert found.returncode == 1
        wanted = "is of another event" if rehashed else "is not what was hashed"
        assert wanted in found.stdout, found.stdout
    events.write_bytes(saved)
    packs.forge_manifest(folder, "audit/events.jsonl")

    (checkpoint,) = (folder / "audit/checkpoints").iterdir()
    name = f"audit/checkpoints/{checkpoint.name}"
    before = checkpoint.read_bytes()

    def another_root(file: Any) -> None:
        said = json.loads(file["checkpoint"])
        said["root"] = "sha256:" + "0" * 64
        file["checkpoint"] = json.dumps(said, sort_keys=True, separators=(",", ":"))
        file["digest"] = "sha256:" + hashlib.sha256(file["checkpoint"].encode()).hexdigest()

    packs.rewrite_json(folder, name, another_root)
    found = packs.check(folder)
    assert found.returncode == 1
    assert "its signature is not of its key" in found.stdout
    checkpoint.write_bytes(before)
    packs.forge_manifest(folder, name)
    assert packs.check(folder).returncode == 0


def test_the_key_that_the_auditor_has_decides(folder: Path, tmp_path: Path) -> None:
    key = keys.signing_key().public_key()
    mine = tmp_path / "mine.pem"
    mine.write_text(keys.public_pem(key))
    assert packs.check(folder, "--key", str(mine)).returncode == 0
    keys.create_key(tmp_path / "other.pem")
    other = keys.load_public((tmp_path / "other.pem").read_bytes())
    mine.write_text(keys.public_pem(other))
    found = packs.check(folder, "--key", str(mine))
    assert found.returncode == 1
    assert "is signed by another key than the one you trust" in found.stdout


def test_without_a_checkpoint_it_says_that_it_is_incomplete(
    promotion: Promotion, tmp_path: Path
) -> None:
    keys.key_file().unlink()
    path = tmp_path / "pack.zip"
    with path.open("w+b") as out:
        assert pack_promotion(promotion, out, actor=TESTER).checkpoint is None
    found = packs.check(path)
    assert found.returncode == 2, found.stdout
    assert "No checkpoint covers this pack" in found.stdout
    assert "Incomplete: nothing is wrong" in found.stdout


def test_the_same_pack_made_again_has_the_same_bytes(
    promotion: Promotion, workflow: Workflow
) -> None:
    start, end = now() - DAY, now() + timedelta(seconds=1)
    found: list[bytes] = []
    for _ in range(2):
        out = io.BytesIO()
        pack_promotion(promotion, out, actor=TESTER)
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
    promotion: Promotion, workflow: Workflow, tmp_path: Path
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
    promotion: Promotion, workflow: Workflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    promotion: Promotion, workflow: Workflow, tmp_path: Path
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
    promotion: Promotion, tmp_path: Path
) -> None:
    out = tmp_path / "from-shell.zip"
    said = io.StringIO()
    call_command("evidence_pack", str(promotion.pk), "--out", str(out), stdout=said)
    assert "sha256:" in said.getvalue()
    assert packs.check(out).returncode == 0
    with pytest.raises(CommandError, match="there already"):
        call_command("evidence_pack", str(promotion.pk), "--out", str(out))
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


def test_a_pack_that_is_none_is_said_to_be_none(tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(folder / "verify.py", empty / "verify.py")
    found = packs.check(empty)
    assert found.returncode == 1
    assert "manifest.json: is missing" in found.stdout
