"""What differs, in words a CFO reads, and the risk that follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from governance.releases.diff import compare
from tests.conftest import slots


def changed(**slot_contents: Any) -> Any:
    return compare(slots(), slots(**slot_contents))


def guardrails(**changes: Any) -> dict[str, Any]:
    return {"escalation_threshold": 0.35, "always_escalate": ["fraud"], **changes}


@pytest.mark.parametrize(
    ("slot", "content", "sentence", "risk"),
    [
        (
            "guardrails", guardrails(escalation_threshold=0.2),
            "The escalation threshold goes from 0.35 to 0.20.", "high",
        ),
        (
            "guardrails", guardrails(escalation_threshold=0.5),
            "The escalation threshold goes from 0.35 to 0.50.", "low",
        ),
        ("guardrails", guardrails(always_escalate=[]), "The always escalate loses fraud.", "high"),
        (
            "guardrails", guardrails(max_refund=50),
            "The max refund is new: 50.", "low",
        ),
        (
            "model", {"provider": "own", "id": "char", "parameters": {"neighbours": 5}},
            "The model’s id goes from “word-tfidf” to “char”.", "medium",
        ),
        (
            "tools", {"tools": [{"name": "lookup_order", "permission": "write"}]},
            "The tool lookup_order goes from the right to read to the right to write.", "high",
        ),
        (
            "tools",
            {"tools": [{"name": "lookup_order", "permission": "read"},
                       {"name": "refund", "permission": "write", "money_limit": 50}]},
            "The tool refund is granted with the right to write.", "high",
        ),
        ("tools", {"tools": []}, "The tool lookup_order is taken away.", "low"),
        (
            "retrieval",
            {"corpus": "kb", "documents": [{"id": "d2", "sha256": "b" * 64}], "access": ["public"]},
            "The corpus goes from 1 to 1 documents: 1 added, 1 removed.", "medium",
        ),
        (
            "retrieval",
            {"corpus": "kb", "documents": [{"id": "d1", "sha256": "a" * 64}],
             "access": ["public", "finance"]},
            "Access widens to finance.", "high",
        ),
        (
            "prompt_policy", {"greeting": "Hello."},
            "The prompt’s greeting goes from “Thank you for writing to us.” to “Hello.”.", "low",
        ),
        ("feedback", None, "Feedback is not declared any more.", "medium"),
        ("guardrails", None, "Guardrails is not declared any more.", "high"),
    ],
)  # fmt: skip
def test_a_change_reads_as_a_sentence_and_carries_its_risk(
    slot: str, content: Any, sentence: str, risk: str
) -> None:
    difference = changed(**{slot: content})
    assert difference.sentences == [sentence]
    assert difference.risk == risk
    assert [entry.slot for entry in difference.changed] == [slot]
    assert difference.changed[0].lines


def test_equal_releases_have_no_difference() -> None:
    assert compare(slots(), slots()).is_empty


def test_the_order_of_keys_is_no_difference() -> None:
    backwards = dict(reversed(slots()["guardrails"].items()))
    assert changed(guardrails=backwards).is_empty


def test_the_highest_risk_decides_and_every_reason_is_kept() -> None:
    difference = changed(
        guardrails=guardrails(escalation_threshold=0.1), model={"provider": "own", "id": "x"}
    )
    assert difference.risk == "high"
    assert any("A weaker guardrail" in reason for reason in difference.reasons)
    assert any("The model changes" in reason for reason in difference.reasons)


def test_a_higher_money_limit_is_high_risk_and_so_is_dropping_it() -> None:
    def tool(limit: int | None) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": "refund", "permission": "write"}
        return {"tools": [entry if limit is None else {**entry, "money_limit": limit}]}

    before = slots(tools=tool(50))
    assert compare(before, slots(tools=tool(500))).risk == "high"
    assert compare(before, slots(tools=tool(None))).risk == "high"
    assert compare(before, slots(tools=tool(20))).risk == "low"


@pytest.mark.parametrize("slot", ["guardrails", "tools", "retrieval", "model", "prompt_policy"])
def test_content_of_any_shape_never_breaks_the_comparison(slot: str) -> None:
    oddities: tuple[dict[str, Any], ...] = (
        {"tools": "all"},
        {"documents": [1, None]},
        {"a": {"b": [{}]}},
        {"access": 7},
    )
    for odd in oddities:
        assert not changed(**{slot: odd}).is_empty
