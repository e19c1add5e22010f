"""The gate on real customer messages: the demo's router over banking77, in six versions.

Measured with this code on the 3,080 messages of the test set and 1,000 about something else:

| version | change                      | named | handed | silent err | sens. | out of sc. |
|---------|-----------------------------|------:|-------:|-----------:|------:|-----------:|
| k1      | words, 2,000 messages, .35  |  .708 |   .173 |       .199 |  .083 |       .449 |
| k2      | only the threshold, .20     |  .708 |   .076 |       .270 |  .167 |       .937 |
| k3      | all 10,003 messages         |  .830 |   .102 |       .138 |  .067 |       .578 |
| k5      | twelve intents lost         |  .716 |   .115 |       .227 |  .092 |       .601 |
| k6      | a fraud intent misfiled     |  .819 |   .090 |       .149 |  .213 |       .578 |
| k4      | characters, threshold .45   |  .838 |   .155 |       .100 |  .037 |       .204 |

Handed: to a person. Sensitive, out of scope: the share of those that was answered automatically.
The data are not part of the project; where they are beside it, this runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from governance.common.canonical import digest
from governance.demo.support.library import Library, Message, is_sensitive, read_messages
from governance.demo.support.releases import character_model, word_model
from governance.demo.support.router import Router, build, root_hash
from governance.evals.evidence import CaseResult, SuiteEvidence
from governance.evals.gate import GateVerdict, Verdict, judge
from governance.evals.policy import GatePolicy
from governance.evals.scorers import score
from governance.evals.targets import Outcome

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "banking77"
ELSEWHERE = DATA.parent / "clinc150" / "data_small.json"  # messages about no intent of a bank
pytestmark = pytest.mark.skipif(
    not ((DATA / "train.csv").is_file() and ELSEWHERE.is_file()),
    reason="the banking77 and clinc150 messages are not beside the project",
)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
MARGIN = 3  # points, of every guardrail
LOST = 12  # intents that a broken sync leaves out
FRAUD, FILED_UNDER = "compromised_card", "card_acceptance"


@cache
def messages(name: str) -> Sequence[Message]:
    return read_messages(DATA / f"{name}.csv").messages


@cache
def corpus(kind: str) -> tuple[Message, ...]:
    """The corpora of the story."""
    train = [m for m in messages("train") if m.kind == "ordinary"]
    train.sort(key=lambda message: digest(message.text))  # mixed, the same everywhere
    if kind == "small":
        return tuple(train[:2000])
    if kind == "lost":
        gone = sorted({m.label for m in train})[:: 77 // LOST][:LOST]
        return tuple(m for m in train if m.label not in gone)
    if kind == "misfiled":
        return tuple(replace(m, label=FILED_UNDER) if m.label == FRAUD else m for m in train)
    return tuple(train)


@cache
def router(kind: str, threshold: float, characters: bool) -> Router:
    """One version, over its corpus."""
    documents = sorted(corpus(kind), key=lambda message: message.id)
    listed = [{"id": m.id, "sha256": m.sha256} for m in documents]
    labels = sorted({m.label for m in messages("train")})
    components: dict[str, Any] = {
        "prompt_policy": {
            "handover": "A colleague will answer.", "replies": dict.fromkeys(labels, "Thank you."),
        },
        "model": character_model() if characters else word_model(),
        "tools": {"tools": []},
        "retrieval": {"documents": listed, "count": len(listed), "root": root_hash(listed)},
        "guardrails": {
            "confidence_threshold": threshold,
            "sensitive_intents": [label for label in labels if is_sensitive(label)],
        },
        "routing": {"fallback_queue": "general"},
    }  # fmt: skip
    return build(components, Library("banking77", documents))


@cache
def evidence(kind: str, threshold: float, characters: bool = False) -> SuiteEvidence:
    """What one version does with the 3,080 messages of the test set."""
    test = messages("test")
    decisions = router(kind, threshold, characters).decide_all([m.text for m in test])
    results = []
    for message, decision in zip(test, decisions, strict=True):
        must = is_sensitive(message.label)
        outcome = Outcome(
            decision.answer, decision.escalated, decision.violations, decision.cost, 1.0
        )
        found = score({"answer": message.label, "must_escalate": must}, outcome)
        results.append(
            CaseResult(
                key=message.id,
                values={
                    "named": decision.answer == message.label,
                    "correct": decision.answer == message.label,
                    "escalated": found.escalated,
                    "must_escalate_met": found.escalated if must else None,
                    "silent_error": not decision.escalated and decision.answer != message.label,
                },
                output=digest([decision.answer, decision.escalated]),
            )
        )
    return SuiteEvidence(
        suite="golden", suite_digest="sha256:test", release=f"{kind} {threshold} {characters}",
        evaluator="sha256:e", case_count=len(results), results=results,
    )  # fmt: skip


def share(found: SuiteEvidence, metric: str) -> float:
    known = [r.values[metric] for r in found.results if r.values[metric] is not None]
    return sum(bool(value) for value in known) / len(known)


def out_of_scope(kind: str, threshold: float, characters: bool = False) -> float:
    """The share of 1,000 messages about something else that a version answers by itself."""
    texts = [text for text, _ in json.loads(ELSEWHERE.read_text())["oos_test"]]
    decisions = router(kind, threshold, characters).decide_all(texts)
    return sum(not decision.escalated for decision in decisions) / len(texts)


def gate(candidate: SuiteEvidence, base: SuiteEvidence, primary: str) -> GateVerdict:
    """Judge a change by what it is meant to improve; the rest may not get worse."""
    guarded = {"silent_error", "must_escalate_met", "correct"} - {primary}
    policy = GatePolicy.from_content(
        {
            "suites": {"golden": {"min_cases": 1000}},
            "primary": {"metric": primary, "suites": ["golden"]},
            "guardrails": [
                {"metric": metric, "suites": ["golden"], "margin_points": MARGIN}
                for metric in sorted(guarded)
            ],
            "hard_rules": [],
        }
    )
    return judge(policy, {"golden": candidate}, {"golden": base}, now=NOW)


def test_the_versions_do_what_the_table_says() -> None:
    k1, k2, k3 = evidence("small", 0.35), evidence("small", 0.20), evidence("all", 0.35)
    k4, k5, k6 = evidence("all", 0.45, True), evidence("lost", 0.35), evidence("misfiled", 0.35)
    rows = {
        name: {metric: round(share(one, metric), 3) for metric in k1.results[0].values}
        for name, one in zip(("k1", "k2", "k3", "k4", "k5", "k6"), (k1, k2, k3, k4, k5, k6),
                             strict=True)
    }  # fmt: skip
    k1_row, k2_row, k3_row, k4_row, k5_row, k6_row = rows.values()
    beyond = {
        "k1": out_of_scope("small", 0.35), "k2": out_of_scope("small", 0.20),
        "k3": out_of_scope("all", 0.35), "k4": out_of_scope("all", 0.45, True),
    }  # fmt: skip
    # Only the threshold: the same names, fewer handed over, more answered wrong in silence.
    assert k2_row["named"] == k1_row["named"]
    assert k2_row["escalated"] < k1_row["escalated"] / 2
    assert k2_row["silent_error"] > k1_row["silent_error"] + 0.05
    assert beyond["k2"] > 2 * beyond["k1"]
    assert k3_row["named"] > k1_row["named"] + 0.1
    assert k5_row["named"] < k3_row["named"] - 0.1
    # One intent refiled moves accuracy by a point, and the sensitive mail by fifteen.
    assert abs(k6_row["named"] - k3_row["named"]) < 0.015
    assert k6_row["must_escalate_met"] < k3_row["must_escalate_met"] - 0.1
    assert k4_row["named"] > k3_row["named"]
    assert k4_row["silent_error"] < k3_row["silent_error"] - 0.03
    assert beyond["k4"] < beyond["k3"] / 2


def test_the_gate_catches_each_of_them_and_lets_the_better_one_through() -> None:
    k1, k3 = evidence("small", 0.35), evidence("all", 0.35)
    fewer = gate(evidence("small", 0.20), k1, "escalated")
    assert fewer.verdict is Verdict.FAIL
    assert fewer.rows[0].word == "Better"  # it does what it promises
    assert "Answered wrong without a person" in " ".join(fewer.reasons)
    assert gate(evidence("lost", 0.35), k3, "silent_error").verdict is Verdict.FAIL
    misfiled = gate(evidence("misfiled", 0.35), k3, "silent_error")
    assert misfiled.verdict is Verdict.FAIL
    assert "Sensitive cases handed to a person" in " ".join(misfiled.reasons)
    assert gate(evidence("all", 0.45, True), k3, "silent_error").verdict is Verdict.PASS
