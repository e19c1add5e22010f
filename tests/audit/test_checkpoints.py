"""Checkpoints: signed roots over the chain, delivered outside of the database."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from django.db import Error as DatabaseError
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from governance import audit
from governance.audit import Actor, keys, merkle
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

SYSTEM = Actor.system("tests")


@pytest.fixture(autouse=True)
def _own_key_and_folder(tmp_path: Path, settings: object) -> None:
    settings.AUDIT_KEY_FILE = str(tmp_path / "key.pem")  # type: ignore[attr-defined]
    settings.AUDIT_SINK_DIR = str(tmp_path / "sink")  # type: ignore[attr-defined]
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
def test_a_checkpoint_is_due_after_enough_events_or_enough_time(settings: object) -> None:
    settings.AUDIT_CHECKPOINT_EVENTS = 4  # type: ignore[attr-defined]
    write(2)
    assert make_if_due() is None
    assert uncovered()[0] == 2
    write(2)
    made = make_if_due()
    assert made is not None
    assert uncovered()[:2] == (0, None)
