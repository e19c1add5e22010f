"""From the attributes of four conventions to one receipt."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from governance.common.errors import InvalidInputError
from governance.receipts.mapping import anchor, draft_of, is_whole, workflow_names
from governance.receipts.spans import EVENTS, RESOURCE, Decoder, SpanData, is_content
from tests.receipts.otlp import request, run_span

OURS, FLAG, AGENT, OTHER = (f"sha256:{digit * 64}" for digit in "abcd")
NOW = datetime.now(UTC)


def made(number: int = 1, parent: int = 0, status: int = 0, **attributes: Any) -> SpanData:
    """A span of two seconds; `a__b=1` becomes the attribute a.b."""
    return SpanData(
        "1" * 32, f"{number:016x}", f"{parent:016x}" if parent else "", "run", "helpdesk", NOW,
        2_000_000_000, status, {key.replace("__", "."): value for key, value in attributes.items()},
    )  # fmt: skip


def receipt(*spans: SpanData) -> Any:
    run = anchor(spans)
    assert run is not None
    return draft_of(spans, run, "support-triage")


SOURCES: list[tuple[str, dict[str, Any]]] = [
    ("countersign.release", {"countersign.release": OURS}),
    ("feature_flag.result.variant", {EVENTS: [
        {"name": "feature_flag.evaluation", "attributes": {"feature_flag.result.variant": FLAG}},
    ]}),
    ("feature_flag.result.value", {"feature_flag.result.value": json.dumps({"release": FLAG})}),
    ("feature_flag.variant", {"feature_flag.variant": FLAG}),
    ("gen_ai.agent.version", {"gen_ai.agent.version": AGENT}),
    ("langfuse.release", {"langfuse.release": OTHER}),
    ("metadata", {"metadata": json.dumps({"release": OTHER})}),
    ("tag.tags", {"tag.tags": ["vip", f"release:{OTHER}"]}),
    ("langfuse.trace.tags", {"langfuse.trace.tags": json.dumps([f"release:{OTHER}"])}),
    ("traceloop.association.properties.release",
     {"traceloop.association.properties.release": OTHER}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "attributes"), SOURCES)
def test_each_convention_can_name_the_release(name: str, attributes: dict[str, Any]) -> None:
    found = receipt(made(1), made(2, 1, **attributes))

    assert found.release in (OURS, FLAG, AGENT, OTHER)
    assert found.resolved_by == name


def test_the_better_source_wins_wherever_it_stands_in_the_trace() -> None:
    for position, (name, attributes) in enumerate(SOURCES):
        rest: dict[str, Any] = {}
        for other, weaker in SOURCES[position + 1 :]:
            # Of several flag evaluations the first counts, however it is written.
            if not (name.startswith("feature_flag") and other.startswith("feature_flag")):
                rest.update(weaker)
        assert receipt(made(1, **rest), made(2, 1, **attributes)).resolved_by == name


@pytest.mark.parametrize(
    "claim", ["1.4.0", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "a" * 64, OURS + "\n"]
)
def test_a_claim_that_is_no_digest_resolves_to_nothing_and_is_kept(claim: str) -> None:
    found = receipt(made(1, countersign__release=claim))

    assert (found.release, found.resolved_by) == ("", "")
    assert found.observed["release_claimed"] == claim


def test_service_version_alone_names_no_release() -> None:
    resource: dict[str, Any] = {RESOURCE: {"service.version": OURS}}

    assert receipt(made(1, **resource)).release == ""


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.usage.input_tokens": 212, "gen_ai.usage.output_tokens": 48,
         "gen_ai.usage.cache_read.input_tokens": 128, "gen_ai.response.model": "gpt-5-mini"},
        {"llm.token_count.prompt": 212, "llm.token_count.completion": 48,
         "llm.model_name": "gpt-5-mini"},
        {"gen_ai.usage.prompt_tokens": 212, "gen_ai.usage.completion_tokens": 48,
         "gen_ai.request.model": "gpt-5-mini"},
    ],
)  # fmt: skip
def test_tokens_and_model_by_convention(attributes: dict[str, Any]) -> None:
    found = receipt(made(1), made(2, 1, **attributes))

    assert (found.tokens_in, found.tokens_out) == (212, 48)
    assert (found.model_answered, found.observed["model"]) == ("gpt-5-mini", "gpt-5-mini")


def test_a_chain_of_sums_is_counted_at_its_lowest_level() -> None:
    found = receipt(
        made(1, gen_ai__usage__input_tokens=60, llm__cost__total=0.6),
        made(2, 1, gen_ai__usage__input_tokens=60),
        made(3, 2, gen_ai__usage__input_tokens=20, llm__cost__total=0.25),
        made(4, 2, gen_ai__usage__input_tokens=40, llm__cost__total=0.35),
    )

    assert (found.tokens_in, found.cost) == (60, Decimal("0.60"))


def test_what_nobody_said_stays_unknown() -> None:
    found = receipt(made(1))

    assert (found.cost, found.tokens_in, found.escalated, found.quality) == (None,) * 4
    assert (found.violations, dict(found.measures)) == (None, {})
    assert receipt(made(1, countersign__violations=[])).violations == []


def test_the_run_overrules_its_children() -> None:
    found = receipt(
        made(1, countersign__workflow="support-triage", countersign__outcome="answered"),
        made(2, 1, countersign__outcome="tool failed", countersign__segment__language="de",
             status=2, error__type="Timeout"),
    )  # fmt: skip

    assert (found.outcome, found.segment, found.error) == ("answered", "de", "")
    assert found.duration_ms == 2000


def test_several_segments_make_one_name() -> None:
    found = receipt(made(1, countersign__segment__b="2", countersign__segment__a="1"))

    assert found.segment == "a=1, b=2"


def test_the_run_is_what_names_its_workflow_then_the_agent_then_the_root() -> None:
    root, agent = made(1), made(2, 1, gen_ai__operation__name="invoke_agent")
    named = made(3, 2, countersign__workflow="support-triage")

    assert anchor([root]) is root
    assert anchor([root, agent]) is agent
    assert anchor([root, agent, named]) is named
    assert anchor([made(4, 9)]) is None


def test_a_trace_is_whole_when_everything_hangs_under_one_root() -> None:
    assert is_whole([made(1), made(2, 1), made(3, 2)])
    assert not is_whole([made(2, 1)])
    assert not is_whole([made(1), made(3, 2)])


def test_names_of_the_workflow_come_before_the_service() -> None:
    names = list(workflow_names([made(1, gen_ai__agent__name="triage"), made(2, 1)]))

    assert names[0] == "triage"
    assert names[-1] == "helpdesk"


@pytest.mark.parametrize(
    ("name", "value"),
    [("cost", "1_000"), ("cost", "٣"), ("amount", " 1"), ("quality", "１"), ("measure.x", "1_0"),
     ("escalated", "perhaps"), ("cost", "a lot"), ("cost", True), ("quality", [1]),
     ("amount", "inf"), ("outcome", 5), ("violations", [1]), ("measure.x", "NaN")],
)  # fmt: skip
def test_a_value_that_cannot_be_what_its_name_says_is_an_error(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"countersign.{name.split('.')[0]}"):
        receipt(made(1, **{f"countersign.{name}": value}))


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("gen_ai.input.messages", True), ("llm.input_messages.0.message.content", True),
        ("gen_ai.prompt.0.content", True), ("input.value", True), ("user.id", True),
        ("langfuse.observation.output", True), ("retrieval.documents.3.document.content", True),
        ("gen_ai.prompt.name", False), ("gen_ai.prompt.version", False),
        ("llm.prompt_template.version", False), ("countersign.case_id", False),
        ("gen_ai.usage.input_tokens", False),
    ],
)  # fmt: skip
def test_content_is_told_from_facts(name: str, hidden: bool) -> None:
    assert is_content(name) is hidden


def test_the_hash_of_content_needs_our_key() -> None:
    body = request(run_span(user__id="u-9")).SerializeToString()
    hashes = {
        Decoder(key, NOW).protobuf(body).spans[0].attributes["user.id"] for key in (b"a", b"b")
    }

    assert len(hashes) == 2
