"""From stored content to what a page prints: gate rows and slots. Pure."""

from __future__ import annotations

from typing import Any

from django.template.loader import render_to_string

from dashboards.gates import gate_rows, report_rows
from dashboards.slots import facts

NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def row(**changes: Any) -> dict[str, Any]:
    return {
        "role": "guardrail", "suite_label": "Golden", "metric_label": "Correct answers",
        "passed": 90, "n": 100, "value": 90.0, "base_passed": 92, "change": -2.0, "low": -5.0,
        "high": 1.0, "margin": 4.0, "unit": "percent", "better": "up", "verdict": "no_worse",
        "verdict_label": "No worse", "sentence": "A drop of 4 is ruled out.", **changes,
    }  # fmt: skip


def test_percent_of_the_report_are_shares_on_the_page() -> None:
    (found,) = gate_rows({"rows": [row()]}, judged=True)
    assert (found.name, found.metric, found.result) == ("Golden", "Correct answers", "90 / 100")
    assert found.change == f"{MINUS}2.0{NBSP}pt"
    assert found.interval == f"{MINUS}5.0{NBSP}pt to +1.0{NBSP}pt"
    assert (found.verdict.word, found.verdict.tone) == ("No worse", "good")


def test_the_margin_stands_on_the_harmful_side() -> None:
    up, down = gate_rows({"rows": [row(better="up"), row(better="down")]}, judged=True)
    assert up.bar is not None
    assert down.bar is not None
    assert up.bar.margin is not None
    assert down.bar.margin is not None
    assert up.bar.margin < up.bar.zero < down.bar.margin


def test_each_row_says_what_it_is_allowed() -> None:
    guardrail, primary, asked, floor = gate_rows(
        {
            "rows": [
                row(margin=8.0), row(role="primary", margin=0.0), row(role="primary", margin=2.5),
                row(role="floor", change=None, low=None, high=None, margin=None, limit=85.0),
            ]
        },
        judged=True,
    )  # fmt: skip
    assert guardrail.allowed == f"may be up to 8{NBSP}pt worse"
    assert (primary.allowed, asked.allowed) == ("", f"has to be at least 2.5{NBSP}pt better")
    assert (floor.allowed, floor.change) == ("", f"Limit: at least 85.0{NBSP}%")
    table = render_to_string("dashboards/elements/gates.html", {"gates": [guardrail]})
    assert f"may be up to 8{NBSP}pt worse" in table


def test_rows_of_one_unit_share_a_scale() -> None:
    small, large = gate_rows(
        {"rows": [row(low=-1.0, high=1.0, change=0.0), row(low=-20.0)]}, judged=True
    )
    assert small.bar is not None
    assert large.bar is not None
    assert small.bar.width < large.bar.width / 3


def test_what_was_not_compared_says_so_instead_of_showing_zero() -> None:
    nothing = {"change": None, "low": None, "high": None, "margin": None}
    floor, unknown = gate_rows(
        {
            "rows": [
                row(**nothing, role="floor", limit=85.0, verdict="met"),
                row(**nothing, passed=None, n=0, value=None, sentence="The suite is missing."),
            ]
        },
        judged=True,
    )
    assert (floor.change, floor.bar) == (f"Limit: at least 85.0{NBSP}%", None)
    assert (unknown.change, unknown.result) == ("The suite is missing.", "\N{EN DASH}")


def test_money_keeps_its_unit_and_reported_rows_can_be_left_out() -> None:
    cost = row(role="reported", unit="money", passed=None, value=0.42, change=0.03, low=0.01,
               high=0.05, margin=None, verdict="reported", verdict_label="Reported")  # fmt: skip
    (found,) = gate_rows({"rows": [cost]}, judged=False)
    assert (found.result, found.change) == ("$0.42", "+$0.030")
    assert gate_rows({"rows": [cost]}, judged=True) == ()
    assert report_rows({"rows": [cost]})[0].role == "Reported, not judged"
    assert gate_rows({}, judged=True) == ()


def test_a_slot_reads_like_a_list_of_facts() -> None:
    content = {
        "tools": [{"name": "refund", "permission": "write", "money_limit": 50}],
        "parameters": {"temperature": 0, "stream": False},
        "documents": [{"id": f"d{number}", "sha256": "0" * 64} for number in range(12)],
        "nothing": [],
        "refund_limit": 50,
        "currency": "EUR",
    }
    found = {fact.label: fact.value for fact in facts(content)}
    assert found["Tools"] == "refund (money limit 50, permission write)"
    assert found["Parameters · temperature"] == "0"
    assert found["Parameters · stream"] == "no"
    assert found["Documents"].startswith("12 in all: d0, d1")
    assert found["Documents"].endswith("and 4 more")
    assert found["Nothing"] == "none"
    assert found["Refund limit"] == "50 EUR"
