"""I10: the twelve moves of tests/audit/tampering.py as figures, and no alarm without a cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from governance.audit.checkpoint_models import Checkpoint, CheckpointDelivery
from governance.audit.models import AuditEvent
from tests.audit import tampering
from tests.conftest import empty

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_move_is_refused_or_shown_and_nothing_else_is(
    tmp_path: Path, full: bool, figure: Callable[..., None]
) -> None:
    moves = []
    for number, row in enumerate(tampering.ROWS if full else tampering.ROWS[:2]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with tampering.installation(folder):
            outcome = tampering.run(row)
        tampering.mend()
        empty(CheckpointDelivery, Checkpoint, AuditEvent)
        assert set(row.expected) <= set(outcome.detected_by), row.name
        moves.append(
            (row.name, " and ".join(outcome.refused_to) or "–", ", ".join(outcome.detected_by))
        )
    with tampering.installation(tmp_path):
        events, verifications, faults = tampering.concurrent_events(100_000 if full else 60)
    assert faults == 0
    figure(
        "I10", detected=len(moves), of=len(moves), honest_events=events,
        verified_meanwhile=verifications, false_alarms=faults, moves=moves,
    )  # fmt: skip
