"""One event against itself: what the fast look lets through, what it leaves to the close one."""

from __future__ import annotations

from typing import Any

import pytest

from governance.audit.chain import event_hash
from governance.audit.columns import SEPARATOR, link_of
from governance.common.canonical import canonical

PREV = "sha256:" + "0" * 64
BODY: dict[str, Any] = {
    "seq": 7, "prev": PREV, "event_id": "00000000-0000-0000-0000-000000000007",
    "recorded_at": "2026-01-02T03:04:05.120000+00:00",
    "occurred_at": "2026-01-02T03:04:05+00:00", "demo": True,
    "actor": {"type": "user", "id": "4", "label": "Dana", "authenticated_by": "password"},
    "verb": "promotion.approved",
    "object": {"type": "promotion", "id": "9", "label": "promotion 9", "digest": PREV},
    "workflow": "support-triage", "reason": "It is better.", "details": {"round": 1},
}  # fmt: skip
COLUMNS = [
    "7", PREV, BODY["event_id"], "2026-01-02 03:04:05.12+00", "2026-01-02 03:04:05+00", "true",
    "user", "4", "Dana", "promotion.approved", "promotion", "9", "promotion 9", PREV,
    "support-triage", "It is better.",
]  # fmt: skip


def look(body: dict[str, Any], columns: list[str]) -> str:
    text = canonical(body)
    return link_of(event_hash(text), text.encode(), SEPARATOR.join(columns))


def test_an_event_that_fits_hands_over_its_link() -> None:
    assert look(BODY, COLUMNS) == PREV


@pytest.mark.parametrize("at", range(len(COLUMNS)))
def test_each_column_counts(at: int) -> None:
    changed = [*COLUMNS]
    changed[at] += "0"
    assert look(BODY, changed) == ""


def test_characters_do_not_move_from_one_column_to_its_neighbour_unseen() -> None:
    body = {**BODY, "actor": {**BODY["actor"], "id": f"4{SEPARATOR}Dana", "label": ""}}
    moved = [*COLUMNS]
    moved[7:9] = ["4", f"Dana{SEPARATOR}"]  # the joined texts are the same
    assert look(body, moved) == ""


def test_what_cannot_be_compared_is_left_to_the_close_look() -> None:
    text = canonical(BODY)
    fits = SEPARATOR.join(COLUMNS)
    assert link_of(event_hash(text), text.encode(), None) == ""  # a column is missing
    assert link_of(event_hash(text)[7:], text.encode(), fits) == ""
    for wrong in ("[]", "{}", "nonsense", '{"seq": "7"}', "[" * 10_000):
        assert link_of(event_hash(wrong), wrong.encode(), fits) == ""
