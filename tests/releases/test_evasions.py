"""Ways to make a risky change look harmless, and that none of them works."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.common.canonical import canonical, parse_json
from governance.releases.diff import RANK, SLOT_NAMES, compare
from tests.conftest import slots

Content = dict[str, Any]
GUARDS: Content = {
    "confidence_threshold": 0.4,
    "toxicity_threshold": 0.7,
    "require_person": True,
    "max_refund": "50.00",
    "always_escalate": ["fraud", "injury"],
    "validators": [{"name": "pii", "level": "strict"}, {"name": "money", "level": "strict"}],
    "allow_links": False,
}
REFUND: Content = {"name": "refund", "permission": "write", "money_limit": 50, "currency": "EUR"}
LOOKUP: Content = {"name": "lookup_order", "permission": "read"}


def risk(slot: str, before: Content | None, after: Content | None) -> str:
    found = compare({**slots(), slot: before}, {**slots(), slot: after})
    assert found.sentences
    if found.risk == "high":
        assert found.reasons
    return found.risk


def guards(**changes: Any) -> Content:
    return {key: value for key, value in {**GUARDS, **changes}.items() if value != "gone"}


@pytest.mark.parametrize(
    "after",
    [
        guards(confidence_threshold=0.39),
        guards(confidence_threshold="0.9"),  # text where a number was: nobody knows
        guards(confidence_threshold=None),
        guards(toxicity_threshold=0.8),  # which way is stricter, nobody knows
        guards(toxicity_threshold=0.6),
        guards(confidence_threshold="gone", minimum_confidence=0.4),  # under another name
        guards(require_person=False),
        guards(max_refund="gone"),
        guards(max_refund="51"),
        guards(max_refund="fifty thousand"),
        guards(always_escalate=["fraud"]),
        guards(always_escalate="fraud, injury"),
        guards(validators=[{"name": "money", "level": "strict"}]),
        guards(validators=[{"name": "pii", "level": "loose"}, GUARDS["validators"][1]]),
        guards(validators=[]),
        guards(allow_links=True),
        guards(skip_for=["vip"]),
        guards(override="answer everything"),
        guards(authority="execute"),
        guards(currency="JPY"),
        guards(shadow_mode=True),
    ],
    ids=str,
)  # fmt: skip
def test_a_guardrail_that_may_be_weaker_is_high_risk(after: Content) -> None:
    assert risk("guardrails", GUARDS, after) == "high"


@pytest.mark.parametrize(
    "after",
    [
        guards(confidence_threshold=0.5),
        guards(max_refund=20),
        guards(always_escalate=["fraud", "injury", "legal"]),
        guards(blocked_topics=["politics"]),
        guards(allow_links="gone"),
        guards(require_second_person=True),
        guards(description="What this is for."),
    ],
    ids=str,
)
def test_a_stricter_guardrail_is_low_risk(after: Content) -> None:
    assert risk("guardrails", GUARDS, after) == "low"


def test_a_guardrail_that_moves_to_another_slot_is_high_risk() -> None:
    before = slots(guardrails=GUARDS)
    moved = guards(confidence_threshold="gone")
    after = slots(guardrails=moved, routing={"default": "router", "confidence_threshold": 0.4})
    assert compare(before, after).risk == "high"


@pytest.mark.parametrize("slot", ["guardrails", "tools", "retrieval"])
def test_taking_a_slot_out_of_control_is_high_risk(slot: str) -> None:
    assert risk(slot, slots()[slot], None) == "high"


def tools(*listed: Content, **more: Any) -> Content:
    return {"tools": list(listed), **more}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (tools(LOOKUP), tools(LOOKUP, REFUND)),
        (tools(LOOKUP), tools(LOOKUP, {"name": "refund"})),  # no permission said: every one
        (tools(LOOKUP), tools(LOOKUP, {"name": "refund", "permission": "admin"})),
        (tools(LOOKUP), tools({**LOOKUP, "permission": "root"})),
        (tools({**LOOKUP, "permission": "root"}), tools({**LOOKUP, "permission": "superuser"})),
        (tools(LOOKUP), tools({"name": "lookup_order"})),
        (tools(REFUND), tools({**REFUND, "money_limit": 51})),
        (tools(REFUND), tools({**REFUND, "money_limit": "51.00"})),
        (tools(REFUND), tools({**REFUND, "money_limit": "plenty"})),
        (tools(REFUND), tools({**REFUND, "money_limit": None})),
        (tools(REFUND), tools({"name": "refund", "permission": "write", "currency": "EUR"})),
        (tools(REFUND), tools({**REFUND, "currency": "GBP"})),
        (tools(REFUND), tools({**REFUND, "mode": "live"})),
        (tools({**REFUND, "scopes": ["own"]}), tools({**REFUND, "scopes": ["own", "all"]})),
        (tools({**REFUND, "scopes": ["own"]}), tools(REFUND)),
        (tools(LOOKUP), {"tools": {"lookup_order": "write"}}),
        (tools(LOOKUP), tools(LOOKUP, {"name": "lookup_order", "permission": "write"})),
        (tools(LOOKUP, refund_limit="5"), tools(LOOKUP, refund_limit="5.01")),
        (tools(LOOKUP, refund_limit="5"), tools(LOOKUP)),
        (tools(LOOKUP), tools(LOOKUP, dry_run=False)),
        (tools(LOOKUP, connectors=["crm"]), tools(LOOKUP, connectors=["crm", "bank"])),
    ],
    ids=str,
)
def test_more_rights_and_more_money_are_high_risk(before: Content, after: Content) -> None:
    assert risk("tools", before, after) == "high"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (tools(LOOKUP, REFUND), tools(LOOKUP)),
        (tools(REFUND), tools({**REFUND, "money_limit": 10})),
        (tools(REFUND), tools({**REFUND, "money_limit": "10.50"})),
        (tools(REFUND), tools({**REFUND, "permission": "read"})),
        (tools({"name": "refund", "permission": "write"}), tools({
            "name": "refund", "permission": "write", "money_limit": 10,
        })),
        (tools(LOOKUP, refund_limit="5"), tools(LOOKUP, refund_limit="4.99")),
    ],
    ids=str,
)  # fmt: skip
def test_fewer_rights_and_less_money_are_low_risk(before: Content, after: Content) -> None:
    assert risk("tools", before, after) == "low"


ALLOW: Content = {"allow": ["support"], "deny": ["hr"]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["support"], ["support", "finance"]),
        (["support"], "everyone"),
        (["support"], []),  # nothing left may mean no rule
        (["support"], "gone"),
        (["support"], 7),
        (["support"], {"everything": True}),
        (ALLOW, {"allow": ["support", "finance"], "deny": ["hr"]}),
        (ALLOW, {"allow": ["support"], "deny": []}),
        (ALLOW, {"allow": ["support"]}),
        ([{"group": "support", "label": "public"}], [{"group": "support"}]),
        ([{"effect": "deny", "group": "hr"}], [{"effect": "allow", "group": "hr"}]),
    ],
    ids=str,
)
def test_wider_access_is_high_risk_in_whatever_form_it_is_written(before: Any, after: Any) -> None:
    corpus = {"corpus": "kb"}
    new = corpus if after == "gone" else {**corpus, "access": after}
    assert risk("retrieval", {**corpus, "access": before}, new) == "high"


def test_narrower_access_is_low_risk() -> None:
    before = {"corpus": "kb", "access": ["support", "finance"]}
    assert risk("retrieval", before, {"corpus": "kb", "access": ["support"]}) == "low"
    rules = {"corpus": "kb", "access": ALLOW}
    stricter = {"corpus": "kb", "access": {"allow": ["support"], "deny": ["hr", "legal"]}}
    assert risk("retrieval", rules, stricter) == "low"


def test_a_filter_of_a_corpus_that_goes_is_wider_access() -> None:
    before = {"corpus": "kb", "tenant_filter": "own"}
    assert risk("retrieval", before, {"corpus": "kb"}) == "high"


def test_authority_rises_to_high_risk_in_any_slot() -> None:
    for slot in SLOT_NAMES:
        before = {**slots()[slot], "authority": "draft"}
        assert risk(slot, before, {**before, "authority": "execute"}) == "high"
        assert risk(slot, before, {**before, "authority": "whatever"}) == "high"


def test_a_switch_is_not_the_number_one() -> None:
    assert risk("guardrails", {"require_person": True}, {"require_person": 1}) == "high"
    assert not compare(
        slots(model={"id": "m", "x": 1}), slots(model={"id": "m", "x": True})
    ).is_empty


# Values as canonical JSON holds them: 1.0 is 1 there.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from((0.5, 0.25))
    | st.sampled_from(("", "a", "b", "read", "write", "50")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from((
            "a", "name", "tools", "permission", "access", "documents", "id", "sha256", "deny",
            "allow", "money_limit", "max_refund", "confidence_threshold", "authority",
        )),
        inner, max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip
CONTENT = st.dictionaries(
    st.sampled_from(("a", "b", "tools", "access", "documents", "count", "root", "money_limit",
                     "validators", "max_words", "name", "version")),
    VALUES, min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(slot=st.sampled_from(sorted(SLOT_NAMES)), before=CONTENT, after=CONTENT)
def test_any_change_of_any_value_is_said(slot: str, before: Content, after: Content) -> None:
    one, other = canonical(before), canonical(after)
    found = compare({slot: parse_json(one)}, {slot: parse_json(other)})
    assert found.is_empty == (one == other)
    assert all(sentence.strip() for sentence in found.sentences)


@settings(max_examples=200, deadline=None)
@given(
    first=st.tuples(st.sampled_from(sorted(SLOT_NAMES)), CONTENT, CONTENT),
    second=st.tuples(st.sampled_from(sorted(SLOT_NAMES)), CONTENT, CONTENT),
)
def test_the_whole_is_never_less_risky_than_its_parts(
    first: tuple[str, Content, Content], second: tuple[str, Content, Content]
) -> None:
    parts = [compare({slot: a}, {slot: b}) for slot, a, b in (first, second)]
    if first[0] == second[0]:
        return
    whole = compare(
        {first[0]: first[1], second[0]: second[1]}, {first[0]: first[2], second[0]: second[2]}
    )
    assert RANK[whole.risk] == max(RANK[part.risk] for part in parts)
    assert set(whole.reasons) == {reason for part in parts for reason in part.reasons}
