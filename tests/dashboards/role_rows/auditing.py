"""The auditor's pages: population, one event, files, signatures."""

from __future__ import annotations

from governance.audit import keys
from governance.audit.checkpoints import make
from governance.audit.models import AuditEvent
from governance.people.models import Signature
from tests.dashboards.role_rows import LOGGED_IN, NONE, OTHER_OWNER, READERS, Cast, Row, World

ROWS: dict[str, Row] = {
    "audit-population": Row(LOGGED_IN),
    "audit-population-csv": Row(LOGGED_IN),
    "audit-events-csv": Row(LOGGED_IN),
    "audit-event": Row(READERS, key="audit event"),
    "audit-checkpoints": Row(LOGGED_IN),
    "audit-checkpoint-json": Row(READERS | {OTHER_OWNER}, key="checkpoint"),
    "evidence-pack": Row(READERS, key="promotion"),
    "evidence-pack-make": Row(NONE, READERS, key="promotion"),
    "audit-evidence": Row(LOGGED_IN),
    # Another owner packs what is theirs; without any workflow there is nothing to pack.
    "audit-evidence-make": Row(NONE, READERS | {OTHER_OWNER}),
    "signature": Row(READERS, key="signature"),
    "signature-json": Row(READERS, key="signature"),
}


def extend(world: World, cast: Cast) -> None:
    keys.create_key(keys.key_file())
    checkpoint = make()
    assert checkpoint is not None
    world["checkpoint"] = (checkpoint.number,)
    event = AuditEvent.objects.filter(workflow=cast.workflow.slug).order_by("seq")[0]
    world["audit event"] = (event.pk,)
    # The first decision: what already ran was acknowledged.
    world["signature"] = (Signature.objects.order_by("signed_at")[0].pk,)
