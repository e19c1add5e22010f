"""What differs, in words a CFO reads, and the risk that follows from it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.releases.diff import compare
from governance.releases.wording import word_diff
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
            "The tool refund is granted with the right to write, up to 50.", "high",
        ),
        ("tools", {"tools": []}, "The tool lookup_order is taken away.", "low"),
        (
            "retrieval",
            {"corpus": "kb", "documents": [{"id": "d2", "sha256": "b" * 64}], "access": ["public"]},
            "The corpus goes from 1 to 1 documents: 1 added (d2), 1 removed (d1).", "medium",
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
    assert difference.changed[0].lines or difference.changed[0].documents


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


def test_documents_are_counted_and_the_first_are_named() -> None:
    def corpus(*ids: str, sha256: str = "a" * 64) -> dict[str, Any]:
        return {"documents": [{"id": name, "sha256": sha256} for name in ids]}

    before = slots(retrieval=corpus("a", "b", "c"))
    added = compare(before, slots(retrieval=corpus("a", "b", "c", "d", "e", "f", "g")))
    assert added.sentences == ["The corpus goes from 3 to 7 documents: 4 added (d, e, f, …)."]
    edited = compare(before, slots(retrieval=corpus("a", "b", "c", sha256="b" * 64)))
    assert edited.sentences == ["The corpus goes from 3 to 3 documents: 3 changed (a, b, c)."]
    assert edited.documents_changed == 3
    assert edited.changed[0].documents is not None
    assert edited.changed[0].documents.edited == ("a", "b", "c")


def test_a_prompt_is_compared_word_by_word() -> None:
    old = "You answer kindly. Never promise money. Sign as Kettlewick."
    new = "You answer kindly. Never promise refunds or money. Sign as Kettlewick."
    difference = changed(prompt_policy={"greeting": new})
    assert difference.sentences == ["The wording of the prompt’s greeting changes."]
    (text,) = compare(
        slots(prompt_policy={"system": old}), slots(prompt_policy={"system": new})
    ).changed[0].texts  # fmt: skip
    assert text.name == "System"
    assert ("+", "refunds or ") in text.pieces
    assert not any(mark == "-" for mark, _ in text.pieces)


@given(st.text("ab c\n", max_size=60), st.text("ab c\n", max_size=60))
def test_pieces_put_together_are_the_texts(old: str, new: str) -> None:
    pieces = word_diff(old, new)
    assert "".join(text for mark, text in pieces if mark in " -") == old
    assert "".join(text for mark, text in pieces if mark in " +") == new


def test_a_long_text_is_compared_in_time_and_shown_around_its_changes() -> None:
    long = " ".join(f"word{number}" for number in range(20_000))
    pieces = word_diff(long, long.replace("word9000 ", "").replace("word15000", "other"))
    assert ("-", "word9000 ") in pieces or any("word9000" in t for m, t in pieces if m == "-")
    assert sum(len(text) for _, text in pieces) < 3 * len(long)
    assert ("…", "…") in pieces
