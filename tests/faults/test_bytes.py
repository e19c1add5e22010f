"""I1: one byte of a slot changed after the approval, past every rule of the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from governance.common.errors import StateConflictError
from governance.common.time import now
from governance.releases.models import LiveRelease, Slot
from governance.rollouts import services
from tests.faults.arena import Arena, EveryTarget

pytestmark = pytest.mark.django_db(transaction=True)


def tamper(component: str, text: str) -> None:
    """What only somebody with the rights of the database's owner can do."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE governance_component SET content_text = %s WHERE digest = %s", [text, component]
        )
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("SET LOCAL ROLE cs_app")


@pytest.mark.parametrize("slot", Slot.values)
def test_one_changed_byte_of_any_slot_stops_the_last_approval(
    settings: Any, slot: str, figure: Callable[..., None]
) -> None:
    settings.EVAL_TARGETS = EveryTarget()
    arena = Arena()
    promotion = arena.waiting()
    before = LiveRelease.objects.get(workflow=arena.workflow).release_id
    arena.approve(promotion, "cfo")
    component = promotion.release.components.get(slot=slot)
    text = component.content_text
    at = len(text) // 2
    other = text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]

    tamper(component.pk, other)
    try:
        with pytest.raises(StateConflictError, match="not what its digest names"):
            arena.approve(promotion, "owner")
        with pytest.raises(StateConflictError, match="not what its digest names"):
            services.emergency_change(
                promotion.release, actor=arena.people["maker"], incident="INC-1", reason="Now.",
                authenticated_at=now(),
            )  # fmt: skip
    finally:
        tamper(component.pk, text)
    assert LiveRelease.objects.get(workflow=arena.workflow).release_id == before
    arena.approve(promotion, "owner")  # the very bytes again: it goes on
    assert LiveRelease.objects.get(workflow=arena.workflow).release_id == promotion.release_id
    figure("I1", slot=slot, refused=1)
