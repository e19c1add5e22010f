"""I7: real clients beside a server that is killed, starved and stopped."""

from __future__ import annotations

from collections.abc import Callable

from bench._product import Product
from tests.faults import clients

SHORT, LONG = 9.0, 240.0  # seconds


def test_an_outage_fails_no_call_and_serves_nothing_unapproved(
    full: bool, figure: Callable[..., None], alone: Product
) -> None:
    found = clients.run(LONG if full else SHORT, alone)
    told = {name: value for name, value in found.items() if isinstance(value, int | float)}
    figure("I7", **told)
    assert found["failed"] == 0, found
    assert found["unapproved"] == found["unapproved_from_damage"] == 0, found
    assert found["damaged_ignored"] == found["damaged_caches"]
    assert found["calls"] > 100
    assert found["from_memory"] > 0  # the outage was one
    assert found["openfeature_defaults"] > 0  # and a client without memory felt it
    assert found["rollback_heard_s"] < 30  # what was decided meanwhile arrives when it is back
