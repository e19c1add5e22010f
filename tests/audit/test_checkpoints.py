"""Checkpoints: signed roots over the chain, delivered outside of the database."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import F
from hypothesis import given
from hypothesis import strategies as st

from governance import audit
from governance.audit import Actor, keys, merkle, sinks
from governance.audit.alarms import alarms
from governance.audit.checkpoint_models import CheckpointDelivery
from governance.audit.checkpoints import (
    covering,
    inclusion_proof,
    inclusion_proofs,
    make,
    make_if_due,
    newest,
    raw,
    uncovered,
)
from governance.audit.models import AuditEvent
from governance.common.time import true_now
from governance.jobs import services
from governance.jobs.models import Job

SYSTEM = Actor.system("tests")


@pytest.fixture(autouse=True)
def _own_key_and_folder(tmp_path: Path, settings: Any) -> None:
    settings.AUDIT_KEY_FILE = str(tmp_path / "key.pem")
    settings.AUDIT_SINK_DIR = str(tmp_path / "sink")
    keys.create_key(keys.key_file())


def write(count: int) -> None:
    with audit.atomic():
        for number in range(count):
            audit.record("demo.seeded", actor=SYSTEM, reason=f"reason {number}")


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word by word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1, word by word."""
    if len(leaves) <= 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def entries(count: int) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 100, 1023, 1024, 1025, 2500])
def test_the_growing_tree_has_the_root_of_the_standard(size: int) -> None:
    leaves = entries(size)
    tree = merkle.Tree()
    for leaf in leaves:
        tree.append(leaf)
    assert tree.root == naive_root(leaves)
    assert len(tree.edge) == size.bit_count()
    assert tree.blocks == [naive_root(leaves[at : at + 1024]) for at in range(0, size - 1023, 1024)]
    again = merkle.Tree()
    for block in tree.blocks:
        again.append_block(block)
    for leaf in leaves[again.size :]:
        again.append(leaf)
    assert again.root == tree.root


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_audit_paths_are_those_of_the_standard(case: tuple[int, int]) -> None:
    size, index = case
    leaves = entries(size)
    path = merkle.audit_path([merkle.leaf_hash(leaf) for leaf in leaves], index)
    root = naive_root(leaves)
    assert path == naive_path(index, leaves)
    assert merkle.verify_inclusion(leaves[index], index, size, path, root)
    assert not merkle.verify_inclusion(b"x" * 32, index, size, path, root)
    assert not merkle.verify_inclusion(leaves[index], index, size, [*path, root], root)
    assert not merkle.verify_inclusion(leaves[index], size, size, path, root)
    if size > 1:
        assert not merkle.verify_inclusion(leaves[index], index ^ 1, size, path, root)
        assert not merkle.verify_inclusion(leaves[index], index, size, path[:-1], root)


@pytest.mark.django_db(transaction=True)
def test_checkpoints_continue_each_other_and_sign_every_event_until_now() -> None:
    # The first checkpoint also covers the event that introduces its key.
    write(5)
    first = make()
    assert first is not None
    write(3)
    second = make()
    assert second is not None
    assert make() is None  # nothing new

    hashes = [raw(h) for h in AuditEvent.objects.order_by("seq").values_list("hash", flat=True)]
    assert second.tree_size == len(hashes) == second.last_seq
    assert second.root == "sha256:" + naive_root(hashes).hex()
    assert (second.first_seq, second.previous) == (first.last_seq + 1, first.digest)
    public = keys.load_public(second.public_key)
    assert keys.is_signed(public, second.text, second.signature)
    assert not keys.is_signed(public, second.text + " ", second.signature)
    assert json.loads(second.text)["root"] == second.root
    assert newest() == second
    assert covering(first.last_seq) == first
    assert covering(first.last_seq + 1) == second
    assert covering(second.last_seq + 1) is None


@pytest.mark.django_db(transaction=True)
def test_each_event_is_proved_to_be_under_the_root() -> None:
    write(1100)
    old = make()
    write(1200)
    latest = make()
    assert old is not None
    assert latest is not None
    everything = range(1, latest.last_seq + 1)
    assert all(proof.holds for proof in inclusion_proofs(everything, latest))
    proof = inclusion_proof(700)
    assert proof is not None
    assert proof.holds
    assert proof.checkpoint == old.number
    assert inclusion_proof(latest.last_seq + 1) is None
    with pytest.raises(ValueError, match="not covered"):
        inclusion_proofs([latest.last_seq + 1], latest)
    changed = proof.as_json() | {"event_hash": "sha256:" + "1" * 64}
    assert not merkle.verify_inclusion(
        raw(changed["event_hash"]),
        changed["leaf_index"],
        changed["tree_size"],
        [bytes.fromhex(part) for part in changed["path"]],
        raw(changed["root"]),
    )


@pytest.mark.django_db(transaction=True)
def test_the_database_refuses_to_change_a_checkpoint_or_to_take_one_that_does_not_fit() -> None:
    write(2)
    made = make()
    assert made is not None
    for statement in (
        "UPDATE governance_checkpoint SET root = head",
        "DELETE FROM governance_checkpoint",
        "TRUNCATE governance_checkpoint CASCADE",
        "DELETE FROM governance_checkpointdelivery",
    ):
        for role in ("cs_app", "cs_owner"):
            with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL ROLE {role}; {statement}")
    write(1)
    made.number += 1
    with pytest.raises(DatabaseError, match="does not follow"):
        made.save(force_insert=True)


@pytest.mark.django_db(transaction=True)
def test_the_first_checkpoint_comes_at_once_and_then_after_enough_events_or_enough_time(
    settings: Any,
) -> None:
    settings.AUDIT_CHECKPOINT_EVENTS = 4
    assert make_if_due() is None  # there is nothing to sign
    write(1)
    assert make_if_due() is not None
    write(3)
    assert make_if_due() is None
    assert uncovered()[0] == 3
    write(1)
    assert make_if_due() is not None
    assert uncovered()[:2] == (0, None)
    write(1)
    settings.AUDIT_CHECKPOINT_MINUTES = 0
    assert make_if_due() is not None


def deliveries(state: str) -> int:
    return CheckpointDelivery.objects.filter(state=state).count()


@pytest.mark.django_db(transaction=True)
def test_every_checkpoint_becomes_one_file_that_is_never_overwritten(settings: Any) -> None:
    write(2)
    made = make()
    assert made is not None
    assert sinks.deliver_due() == 1
    path = sinks.folder() / "checkpoint-00000001.json"
    stored = json.loads(path.read_text())
    assert stored["checkpoint"] == made.text
    assert keys.is_signed(
        keys.load_public(stored["public_key"]), stored["checkpoint"], stored["signature"]
    )
    assert path.stat().st_mode & 0o777 == 0o444
    assert sinks.deliver_due() == 0
    delivery = made.deliveries.get()
    assert (delivery.state, delivery.where) == ("delivered", str(path))
    assert alarms() == []

    write(1)
    (sinks.folder() / "checkpoint-00000002.json").write_text("{}")
    make()
    assert sinks.deliver_due() == 0
    assert [alarm.kind for alarm in alarms()] == ["contradicted"]
    assert (sinks.folder() / "checkpoint-00000002.json").read_text() == "{}"


@pytest.mark.django_db(transaction=True)
def test_a_place_that_fails_is_an_alarm_and_is_tried_again_without_blocking_the_other(
    settings: Any, tmp_path: Path
) -> None:
    settings.AUDIT_SINK_EMAIL = ["audit@example.com"]
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    settings.AUDIT_SINK_DIR = str(blocked)
    for _ in range(2):
        write(1)
        make()
    assert sinks.deliver_due() == 2  # both by e-mail
    assert (deliveries("delivered"), deliveries("waiting")) == (2, 2)
    (alarm,) = alarms()
    assert alarm.kind == "undelivered"
    assert "2 checkpoints wait for delivery to the folder" in alarm.sentence

    settings.AUDIT_SINK_DIR = str(tmp_path / "mended")
    assert sinks.deliver_due(true_now() + timedelta(minutes=2)) == 2
    assert deliveries("delivered") == 4
    assert alarms() == []
    assert [message.to for message in mail.outbox] == [["audit@example.com"]] * 2
    name, content, _ = mail.outbox[0].attachments[0]
    assert name == "checkpoint-00000001.json"
    assert isinstance(content, str)
    assert content == (tmp_path / "mended" / name).read_text()


@pytest.mark.django_db(transaction=True)
def test_without_a_key_nothing_is_signed_and_it_shows_as_an_alarm(settings: Any) -> None:
    write(1)
    Path(settings.AUDIT_KEY_FILE).unlink()
    with pytest.raises(keys.KeyProblemError, match="audit_key --create"):
        make()
    assert newest() is None
    settings.AUDIT_CHECKPOINT_MINUTES = 0
    assert [alarm.kind for alarm in alarms()] == ["late"]


@pytest.mark.django_db(transaction=True)
def test_the_job_comes_every_minute_and_one_row_of_the_past_is_kept(settings: Any) -> None:
    settings.AUDIT_CHECKPOINT_EVENTS = 1
    jobs = Job.objects.filter(kind="audit.checkpoint")
    write(1)
    services.tick_recurring()
    services.tick_recurring()
    assert services.run(jobs.get().pk)
    made = newest()
    assert made is not None
    assert made.deliveries.get().state == "delivered"
    for _ in range(3):
        jobs.filter(state="done").update(slot=F("pk"))  # as if its minute were over
        services.tick_recurring()
        assert services.run(jobs.get(state="waiting").pk)
    assert jobs.count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_commands_make_keys_and_checkpoints(
    settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match="already"):
        call_command("audit_key", "--create")
    call_command("audit_key")
    before = capsys.readouterr().out
    assert keys.key_id(keys.load_public(before)) in keys.trusted_keys()
    assert keys.key_file().stat().st_mode & 0o777 == 0o600
    write(1)
    call_command("audit_checkpoint")
    assert "Checkpoint 1: events 1 to 2" in capsys.readouterr().out
    call_command("audit_checkpoint")
    assert "Nothing new since event 2" in capsys.readouterr().out

    call_command("audit_key", "--rotate")
    after = capsys.readouterr().out
    assert after != before
    assert len(keys.trusted_keys()) == 2
    call_command("audit_checkpoint")
    introduced = AuditEvent.objects.filter(verb="audit.key_introduced").order_by("seq")
    assert [event.object_digest for event in introduced] == [
        keys.key_id(keys.load_public(pem)) for pem in (before, after)
    ]


def test_a_folder_that_knows_no_links_is_written_to_and_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("governance.audit.keys.os.link", refuse)
    path = tmp_path / "deep" / "file"
    assert keys.write_once(path, b"first", mode=0o444)
    assert not keys.write_once(path, b"second", mode=0o444)
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]
