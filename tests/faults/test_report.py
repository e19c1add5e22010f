"""The page of the figures keeps up with the promises."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from tests.faults import report

PROJECT = Path(__file__).resolve().parents[2]
KEYS = [f"I{number}" for number in range(1, 16)]


def test_every_invariant_has_its_row_and_its_attack_exists() -> None:
    assert [one.key for one in report.PROMISES] == KEYS
    for one in report.PROMISES:
        assert bool(one.tests) != bool(one.elsewhere), one.key
        for test in one.tests:
            assert (PROJECT / test).exists(), test
        for word in one.elsewhere.replace("(", " ").replace(")", " ").replace(",", " ").split():
            if word.startswith("tests/"):
                assert (PROJECT / word.rstrip(";.")).exists(), word


def test_the_page_in_the_repository_has_a_row_per_invariant() -> None:
    rows = [line for line in report.PAGE.read_text().splitlines() if line.startswith("| I")]
    assert [row.split("|")[1].strip() for row in rows] == KEYS


def test_a_part_that_was_not_measured_is_named_and_not_passed_over() -> None:
    figures: report.Figures = {"I3": [{"full": True, "trials": 200, "promoted_once": 200}]}
    missing = report.unmeasured(figures)
    assert "I4" in missing
    assert "I3" not in missing
    assert "I12" not in missing
    page = report.page(figures, date(2026, 1, 2), run="make faults", failed=["I4"])
    assert "**not measured in this run**" in page
    assert "**Failed: I4.** **Not measured: I1, I2, I4," in page
    assert "| In full: trials 200, promoted once 200 |" in page
