"""I6 and I9: going back needs PostgreSQL and a web process, nothing else; shares are kept."""

from __future__ import annotations

from collections.abc import Callable

from bench._product import Product
from tests.faults import serving

SHORT, LONG = 8.0, 120.0  # seconds; a rollback for every second one


def test_a_rollback_works_while_everything_else_is_down(
    full: bool, figure: Callable[..., None], alone: Product
) -> None:
    found = serving.run(LONG if full else SHORT, alone)
    figure("I6", **{name: value for name, value in found.items() if "served" in name})
    figure("I9", **{name: found[name] for name in (
        "keys", "largest_deviation_points", "moved_inward", "moved_by_restart",
    )})  # fmt: skip
    for way in ("refused", "hanging"):
        assert found[f"{way}_rollbacks"] >= 5
        assert found[f"{way}_served_p95_s"] < 10  # a bound for busy machines; the figure is smaller
    assert found["moved_inward"] == found["moved_by_restart"] == 0
    assert found["largest_deviation_points"] < 0.5
