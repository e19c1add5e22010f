"""Single checkpoints as a page or a pack shows them: does this one hold, and where did it go?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from governance.audit import keys
from governance.audit.chain import GENESIS
from governance.audit.checkpoint_models import Checkpoint, CheckpointDelivery
from governance.audit.checkpoints import InclusionProof, inclusion_proof, read_text
from governance.common.canonical import digest_text

SIGNED = (
    "number", "first_seq", "last_seq", "tree_size", "root", "head", "previous", "key_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """One checkpoint, looked at again."""

    checkpoint: Checkpoint
    fault: str  # empty: it is signed, whole, and follows the one before it
    key_known: bool  # its key is this installation's own, or was
    deliveries: tuple[CheckpointDelivery, ...]


def known_keys() -> Mapping[str, Ed25519PublicKey]:
    """The keys of this installation, none where its key file is out of reach."""
    try:
        return keys.trusted_keys()
    except keys.KeyProblemError:
        return {}


def look_at(rows: Iterable[Checkpoint]) -> list[Seen]:
    """Check the signature of each, and its link where the one before it exists."""
    chosen = list(rows)
    known = known_keys()
    before = dict(
        Checkpoint.objects.filter(number__in=[row.number - 1 for row in chosen]).values_list(
            "number", "digest"
        )
    )
    deliveries: dict[int, list[CheckpointDelivery]] = {}
    for delivery in CheckpointDelivery.objects.filter(checkpoint__in=chosen).order_by("sink"):
        deliveries.setdefault(delivery.checkpoint_id, []).append(delivery)
    return [
        Seen(
            checkpoint=row,
            fault=fault_of(row, before.get(row.number - 1, GENESIS)),
            key_known=row.key_id in known,
            deliveries=tuple(deliveries.get(row.number, ())),
        )
        for row in chosen
    ]


def fault_of(row: Checkpoint, previous: str) -> str:
    """Say what does not hold, or return an empty text."""
    try:
        said = read_text(row.text)
        key = keys.load_public(row.public_key)
    except (ValueError, RecursionError, keys.KeyProblemError):
        return "It cannot be read."
    if digest_text(row.text) != row.digest:
        return "It is not what its digest says."
    if keys.key_id(key) != said["key_id"] or not keys.is_signed(key, row.text, row.signature):
        return "It is not signed by the key it names."
    if any(getattr(row, name) != said[name] for name in SIGNED):
        return "Its columns differ from what was signed."
    if row.previous != previous:
        return "It does not follow the one before it."
    return ""


def proof_of(seq: int) -> tuple[InclusionProof | None, str]:
    """The proof that an event is under a signed root, and what is wrong where there is one."""
    try:
        proof = inclusion_proof(seq)
    except ValueError as error:
        return None, f"The proof cannot be made: {error}."
    if proof is not None and not proof.holds:
        return (
            proof,
            "Its path does not lead to the root: an event was changed after it was signed.",
        )
    return proof, ""
