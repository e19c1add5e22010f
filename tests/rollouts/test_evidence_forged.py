"""Evidence packs that were changed: whatever it was, a stranger finds it and can name it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from governance.audit import keys
from tests.rollouts import packs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_key")]


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


def test_a_pack_that_is_none_is_said_to_be_none(tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(folder / "verify.py", empty / "verify.py")
    found = packs.check(empty)
    assert found.returncode == 1
    assert "manifest.json: is missing" in found.stdout
