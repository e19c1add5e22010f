"""Scorers: what each decides, what it leaves alone, and what it refuses to be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.evals import scorer_kinds
from governance.evals.contributors import editors_since
from governance.evals.evaluators import clean
from governance.evals.models import Case, EvalRun, SuiteVersion
from governance.evals.scorer_kinds import read_number
from governance.evals.scorers import ByEvaluator, Scored, evaluator_for, score
from governance.evals.services import (
    confirm_evaluator,
    finished_run,
    freeze_suite,
    request_run,
    set_evaluator,
)
from governance.evals.setup_models import Evaluator
from governance.evals.target_calls import Pace
from governance.evals.targets import Outcome
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.evals.conftest import cases

Make = Callable[..., Release]
Do = Callable[..., EvalRun]
WHY = "Answers are scored by what they mean."


def outcome(answer: str = "", **changes: Any) -> Outcome:
    facts: dict[str, Any] = {
        "escalated": False, "violations": (), "cost": Decimal("0.5"), "latency_ms": 800.0, **changes
    }  # fmt: skip
    return Outcome(answer=answer, **facts)


@pytest.fixture
def scored(make_release: Make) -> Callable[..., Scored]:
    """Score one answer by one scorer, as a run would."""
    release = make_release()

    def one(
        entry: dict[str, Any], expected: dict[str, Any], answer: str = "", **facts: Any
    ) -> Scored:
        content = clean({"scorers": [{"name": "it", **entry}]})
        evaluator = Evaluator(content_text=json.dumps(content))
        case = Case(key="c", input=facts.pop("case_input", {"q": "?"}), expected=expected)
        return ByEvaluator(evaluator, release, Pace()).score(case, outcome(answer, **facts))

    return one


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("entry", "expected", "answer", "value"),
    [
        ({"kind": "exact"}, {"answer": "Yes"}, "Yes", True),
        ({"kind": "exact"}, {"answer": "Yes"}, "yes", False),
        ({"kind": "exact"}, {"must_escalate": True}, "yes", None),
        ({"kind": "normalised"}, {"answer": "Straße 5!"}, "  STRASSE\u00a05 ", True),
        ({"kind": "normalised"}, {"answer": "ﬁne"}, "fine", True),
        ({"kind": "normalised"}, {"answer": "five"}, "fine", False),
        ({"kind": "label"}, {"answer": "card_lost"}, "Card lost", True),
        ({"kind": "contains"}, {"contains": ["refund", "14 days"]}, "A REFUND in 14 days.", True),
        ({"kind": "contains"}, {"contains": ["refund", "30 days"]}, "Your refund.", False),
        ({"kind": "contains", "all": False}, {"contains": ["refund", "no"]}, "A refund.", True),
        ({"kind": "regex"}, {"regex": r"INC-\d{4}\b"}, "See INC-1042.", True),
        ({"kind": "regex"}, {"regex": r"^INC"}, "See INC-1042.", False),
        ({"kind": "numeric"}, {"number": 1234.5}, "In all 1.234,50 EUR", True),
        ({"kind": "numeric", "relative": 0.01}, {"number": 1000}, "about 1,009", True),
        ({"kind": "numeric", "relative": 0.01}, {"number": 1000}, "about 1,011", False),
        ({"kind": "numeric", "absolute": 2}, {"number": -5}, "-3.5", True),
        ({"kind": "numeric"}, {"number": 5}, "many", False),
        ({"kind": "schema"}, {"schema": {"type": "object", "required": ["a"]}}, '{"a": 1}', True),
        ({"kind": "schema"}, {"schema": {"type": "object", "required": ["a"]}}, "{}", False),
        ({"kind": "schema"}, {"schema": {"type": "object"}}, "not json", False),
        ({"kind": "schema", "schema": {"type": "array"}}, {"answer": "x"}, "[1]", True),
        ({"kind": "overlap"}, {"set": ["a", "b"]}, '["A", "b"]', 1.0),
        ({"kind": "overlap"}, {"set": ["a", "b"]}, "a, c", 0.5),
        ({"kind": "overlap", "measure": "jaccard"}, {"set": ["a", "b"]}, "a; c", 1 / 3),
        ({"kind": "similarity"}, {"answer": "lost my card"}, "My card: lost!", 1.0),
        ({"kind": "forbidden", "texts": ["guarantee"]}, {"answer": "x"}, "We GUARANTEE it", False),
        ({"kind": "forbidden", "patterns": [r"\bact now\b"]}, {"answer": "x"}, "act now", False),
        ({"kind": "forbidden", "texts": ["guarantee"]}, {"answer": "x"}, "We try", True),
        ({"kind": "forbidden"}, {"answer": "x", "forbidden": "system prompt"},
         "My system prompt is", False),
        ({"kind": "personal_data"}, {"answer": "x"}, "Pay to DE89 3704 0044 0532 0130 00", False),
        ({"kind": "personal_data"}, {"answer": "x"}, "Pay to DE88 3704 0044 0532 0130 00", True),
        ({"kind": "personal_data"}, {"answer": "x"}, "Card 4111 1111 1111 1111", False),
        ({"kind": "personal_data"}, {"answer": "x"}, "Order 4111 1111 1111 1112", True),
    ],
)  # fmt: skip
def test_each_kind_decides_as_it_says(
    scored: Callable[..., Scored], entry: dict[str, Any], expected: dict[str, Any], answer: str,
    value: Any,
) -> None:  # fmt: skip
    assert scored(entry, expected, answer).metrics["it"] == pytest.approx(value)


@pytest.mark.django_db
def test_what_a_release_may_do_cost_and_take_is_scored(scored: Callable[..., Scored]) -> None:
    any_answer = {"answer": "x"}
    granted = scored({"kind": "tools"}, any_answer, tools=("lookup_order",))
    assert (granted.metrics["it"], granted.policy_ok) == (True, True)
    beyond = scored({"kind": "tools"}, any_answer, tools=("lookup_order", "refund"))
    assert (beyond.metrics["it"], beyond.policy_ok) == (False, False)
    assert "refund" in beyond.notes["it"]
    assert scored({"kind": "cost", "limit": 0.4}, any_answer).metrics["it"] is False
    assert scored({"kind": "latency", "limit_ms": 900}, any_answer).metrics["it"] is True
    given = {"mail": "write to ann@example.com"}
    entry = {"kind": "personal_data", "allow_from_input": True}
    assert scored(entry, any_answer, "Is ann@example.com you?", case_input=given).policy_ok
    assert not scored(entry, any_answer, "Is bob@example.com you?", case_input=given).policy_ok


@pytest.mark.django_db
def test_correct_policy_and_passed_come_from_the_roles(scored: Callable[..., Scored]) -> None:
    right = scored({"kind": "normalised"}, {"answer": "yes"}, "Yes")
    assert (right.correct, right.silent_error, right.passed) == (True, False, True)
    wrong = scored({"kind": "normalised"}, {"answer": "yes"}, "No")
    assert (wrong.correct, wrong.silent_error, wrong.passed) == (False, True, False)
    handed = scored({"kind": "normalised"}, {"answer": "yes", "must_escalate": True}, "Yes")
    assert (handed.correct, handed.passed) == (False, False)
    unknown = scored(
        {"kind": "normalised"}, {"answer": "yes", "must_escalate": True}, "Yes", escalated=None
    )
    assert (unknown.correct, unknown.silent_error, unknown.passed) == (None, None, None)
    # A scorer without a role says its number and decides nothing.
    beside = scored({"kind": "latency", "limit_ms": 1}, {"must_not_escalate": True})
    assert (beside.metrics["it"], beside.correct, beside.passed) == (False, None, True)
    alike = scored({"kind": "similarity", "threshold": 0.99}, {"answer": "yes"}, "yess")
    assert 0.8 < float(alike.metrics["it"] or 0) < 0.99
    assert alike.correct is False


def test_a_target_that_cannot_tell_whether_it_escalated_is_not_called_silent() -> None:
    said = score({"answer": "yes"}, outcome("no", escalated=None))
    assert (said.correct, said.escalated, said.silent_error, said.passed) == (
        False, None, None, False,
    )  # fmt: skip
    said = score({"answer": "yes", "must_not_escalate": True}, outcome("yes", escalated=None))
    assert (said.correct, said.passed) == (True, None)


@pytest.mark.django_db
def test_a_hostile_pattern_is_an_error_of_its_case_and_not_the_end_of_the_worker(
    scored: Callable[..., Scored], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer_kinds, "PATTERN_SECONDS", 0.05)
    with pytest.raises(InvalidInputError, match="took longer"):
        scored({"kind": "regex"}, {"regex": r"(a|a|aa)+$"}, "a" * 400 + "b")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", None), ("none", None), ("-", None), ("1,234", 1234), ("1.234", 1.234),
        ("1.234.567", 1234567), ("1,234,567.8", 1234567.8), ("1'234.50", 1234.5),
        ("12\u202f345,6", 12345.6), ("from 3 to 4.", 4), ("1e3", 1000), ("9e999", None),
        ("3,5 %", 3.5),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text: str, number: float | None) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    ("scorers", "sentence"),
    [
        ([], "1 to 30 scorers"),
        ([{"name": "A b", "kind": "exact"}], "small letters"),
        ([{"name": "a", "kind": "psychic"}], "a kind is one of"),
        ([{"name": "a", "kind": "exact", "loud": True}], "no 'loud'"),
        ([{"name": "a", "kind": "exact", "role": "boss"}], "a role is"),
        ([{"name": "a", "kind": "exact"}, {"name": "a", "kind": "label"}], "Two scorers"),
        ([{"name": "a", "kind": "numeric", "absolute": -1}], "a number from 0"),
        ([{"name": "a", "kind": "forbidden", "patterns": ["("]}], "regular expressions"),
        ([{"name": "a", "kind": "schema", "schema": {"$ref": "https://evil/x.json"}}], "Schema"),
        ([{"name": "a", "kind": "callable", "call": "os.system"}], "EVAL_SCORERS"),
        ([{"name": "a", "kind": "judge"}], "needs its base url"),
    ],
)
def test_what_is_no_scorer_is_refused_in_one_sentence(scorers: Any, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        clean({"scorers": scorers})


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        ({"answr": "x"}, "nobody scores 'answr'"),
        ({"number": True}, "number is a number"),
        ({"number": float("nan")}, "number is a number"),
        ({"regex": "("}, "regular expression"),
        ({"schema": {"type": "sausage"}}, "JSON Schema"),
        ({"contains": []}, "list of texts"),
        ({"answer": 5}, "answer is a text"),
    ],
)
def test_a_case_expects_only_what_somebody_scores(
    workflow: Workflow, analyst: User, expected: Any, sentence: str
) -> None:
    case = {"key": "c", "input": {"q": 1}, "expected": expected}
    with pytest.raises(InvalidInputError, match=sentence):
        freeze_suite(workflow, "golden", [case], actor=analyst)


def shout(case_input: Any, expected: Any, answer: str) -> tuple[bool, str]:
    """A scorer of EVAL_SCORERS."""
    return answer.isupper(), "it shouts" if answer.isupper() else ""


def test_a_run_is_scored_by_the_evaluator_and_carries_its_fingerprints(
    workflow: Workflow, analyst: User, builder: User, cfo: User, golden: SuiteVersion,
    make_release: Make, score: Do, settings: Any,
) -> None:  # fmt: skip
    settings.EVAL_SCORERS = {"shout": f"{__name__}.shout"}
    release = make_release()
    old = score(release, golden, slot="old")
    began = workflow.created_at.replace(year=2000)
    before = evaluator_for(workflow.slug)
    content: dict[str, Any] = {
        "scorers": [
            {"name": "answer", "kind": "normalised"},
            {"name": "alike", "kind": "similarity", "role": ""},
            {"name": "loud", "kind": "callable", "call": "shout"},
        ]
    }
    made = set_evaluator(workflow, content, actor=builder, reason=WHY)
    assert evaluator_for(workflow.slug) != before
    assert finished_run(release, golden) is None
    run = score(release, golden, slot="new")
    assert (run.state, run.errors, run.definition) == (EvalRun.State.DONE, 0, made)
    assert set(run.scorers) == {"answer", "alike", "loud"}
    first = run.scores.get(case__key="n0031")
    assert first.metrics == {"answer": True, "alike": 1.0, "loud": False}
    assert run.summary["correct"] == old.summary["correct"]
    assert run.summary["score:alike"]["n"] == 60
    assert run.summary["score:loud"] == {"n": 60, "sum": 0}

    assert builder.pk in editors_since(workflow, began)
    with pytest.raises(NotAllowedError):
        confirm_evaluator(made, actor=builder)
    confirm_evaluator(made, actor=cfo)
    assert builder.pk not in editors_since(workflow, began)
    with pytest.raises(StateConflictError):
        set_evaluator(workflow, content, actor=analyst, reason="Again.")
    content["scorers"][1]["threshold"] = 0.5
    set_evaluator(workflow, content, actor=analyst, reason="Half is enough.")
    again = request_run(release, golden, actor=analyst, purpose="request", slot="third")
    changed = {name for name, mark in again.scorers.items() if run.scorers[name] != mark}
    assert changed == {"alike"}


def test_a_scorer_that_an_operator_took_away_fails_the_run_in_words(
    workflow: Workflow, analyst: User, golden: SuiteVersion, make_release: Make, score: Do,
    settings: Any,
) -> None:  # fmt: skip
    settings.EVAL_SCORERS = {"shout": f"{__name__}.missing"}
    content = {"scorers": [{"name": "loud", "kind": "callable", "call": "shout"}]}
    set_evaluator(workflow, content, actor=analyst, reason=WHY)
    run = score(make_release(), golden)
    assert run.state == EvalRun.State.FAILED
    assert "cannot be imported" in run.error


def test_cases_of_one_suite_may_expect_different_things(
    workflow: Workflow, analyst: User, make_release: Make, score: Do
) -> None:
    mixed = cases(4)
    mixed[1]["expected"] = {"regex": r"answer \d"}
    mixed[2]["expected"] = {"number": 2}
    mixed[3]["expected"] = {"must_not_escalate": True}
    suite = freeze_suite(workflow, "golden", mixed, actor=analyst)
    content = {
        "scorers": [
            {"name": "answer", "kind": "exact"}, {"name": "form", "kind": "regex"},
            {"name": "amount", "kind": "numeric"}, {"name": "person", "kind": "escalation"},
        ]
    }  # fmt: skip
    set_evaluator(workflow, content, actor=analyst, reason=WHY)
    guardrails = {"escalation_threshold": 0.05, "gap": 0.0}
    run = score(make_release(guardrails=guardrails), suite)
    found = {row.case.key: row.metrics for row in run.scores.select_related("case")}
    assert found["n0001"] == {"answer": None, "form": True, "amount": None, "person": None}
    assert found["n0002"] == {"answer": None, "form": None, "amount": True, "person": None}
    assert found["n0003"]["person"] is True
    assert [run.scores.get(case__key=f"n000{n}").passed for n in range(4)] == [True] * 4
