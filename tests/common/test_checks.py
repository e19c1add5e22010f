"""A wrong origin in OUTBOUND_ALLOWED refuses to start, with its name."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks


@pytest.mark.parametrize(
    ("origin", "is_wrong"),
    [
        ("http://pipeline.internal:8080", False),
        ("https://10.0.0.7", False),
        ("pipeline.internal:8080", True),
        ("ftp://pipeline.internal", True),
        ("http://user:secret@pipeline.internal", True),
    ],
)
def test_a_wrong_origin_is_named_at_the_start(origin: str, is_wrong: bool, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED = [origin]
    found = [message for message in run_checks() if message.id == "countersign.E020"]
    assert bool(found) == is_wrong
    assert all(origin in message.msg for message in found)
