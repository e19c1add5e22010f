"""One trace's spans to one receipt, by the table of conventions in docs/integrating.md. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from governance.common.canonical import is_digest
from governance.common.errors import InvalidInputError
from governance.receipts.attribute_values import (
    exact_of,
    flag_of,
    float_of,
    json_of,
    text_of,
    violations_of,
)
from governance.receipts.drafts import LONGEST_OBSERVED, ReceiptDraft
from governance.receipts.spans import EVENTS, RESOURCE, SpanData

WORKFLOW_NAMES = (
    "gen_ai.workflow.name", "gen_ai.agent.name", "agent.name", "openinference.project.name",
    "traceloop.workflow.name", "traceloop.entity.name", "langfuse.trace.name",
)  # fmt: skip
CASE = (
    "countersign.case_id", "gen_ai.conversation.id", "session.id",
    "traceloop.association.properties.session_id", "langfuse.session.id",
)  # fmt: skip
MODEL = (
    "gen_ai.response.model", "llm.model_name", "langfuse.observation.model.name",
    "gen_ai.request.model", "llm.request.model_name",
)  # fmt: skip
TOKENS_IN = ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.prompt_tokens")
TOKENS_OUT = (
    "gen_ai.usage.output_tokens", "llm.token_count.completion", "gen_ai.usage.completion_tokens",
)  # fmt: skip
COST = ("countersign.cost", "gen_ai.usage.cost.amount", "llm.cost.total", "gen_ai.usage.cost")
CURRENCY = ("countersign.currency", "gen_ai.usage.cost.currency")
PROMPT_NAME = ("gen_ai.prompt.name", "prompt.id", "traceloop.prompt.key",
               "langfuse.observation.prompt.name")  # fmt: skip
PROMPT_VERSION = ("gen_ai.prompt.version", "llm.prompt_template.version",
                  "traceloop.prompt.version", "langfuse.observation.prompt.version")  # fmt: skip
TOOL = ("gen_ai.tool.name", "tool.name")
FLAG = ("feature_flag.result.variant", "feature_flag.result.value", "feature_flag.variant")
RELEASE_AFTER_FLAG = (
    "gen_ai.agent.version", "langfuse.release", "metadata", "langfuse.trace.metadata", "tag.tags",
    "langfuse.trace.tags", "traceloop.association.properties.release",
)  # fmt: skip
OWN_VALUES = ("outcome", "acceptance", "output_sha256")
SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def slug_candidates(name: str) -> tuple[str, ...]:
    """Return what a name may be as a workflow's slug: itself, or written as a slug."""
    return name, re.sub(r"[\s_]+", "-", name.strip().lower())


def workflow_names(spans: Sequence[SpanData]) -> Iterator[str]:
    """Yield the names by which the trace may mean a workflow, the best first."""
    for name in WORKFLOW_NAMES:
        for span in spans:
            value = _value(span, name)
            if isinstance(value, str) and value:
                yield value
    for span in spans:
        if span.service:
            yield span.service


def named_workflow(spans: Sequence[SpanData]) -> str:
    """Return what `countersign.workflow` says, which nothing else overrules."""
    for span in spans:
        value = _value(span, "countersign.workflow")
        if isinstance(value, str) and value:
            return value
    return ""


def anchor(spans: Sequence[SpanData]) -> SpanData | None:
    """Return the span that stands for the run, or None while only parts of it are known.

    The topmost span that names its workflow; else the topmost agent or workflow span; else the
    root of the trace.
    """
    for is_candidate in (_names_workflow, _is_workflow_like, _is_root):
        candidates = {span.span_id: span for span in spans if is_candidate(span)}
        top = [span for span in candidates.values() if span.parent_span_id not in candidates]
        if top:
            return min(top, key=lambda span: (span.started_at, span.span_id))
    return None


def is_whole(spans: Sequence[SpanData]) -> bool:
    """Whether these spans hang together under one root."""
    ids = {span.span_id for span in spans}
    parents = {span.parent_span_id for span in spans}
    return "" in parents and parents - ids == {""}


def draft_of(spans: Sequence[SpanData], run: SpanData, workflow: str) -> ReceiptDraft:
    """Return the receipt of one trace.

    Args:
        spans: every span of the trace that is known.
        run: the one that stands for the run, from `anchor`.

    Raises:
        InvalidInputError: a value that cannot be what its name says.
    """
    others = sorted(
        (span for span in spans if span is not run), key=lambda s: (s.started_at, s.span_id)
    )
    ordered = [run, *others]
    release, resolved_by, claimed = _release(ordered)
    own = _own(ordered)
    observed = _observed(ordered)
    if claimed and not release:
        observed["release_claimed"] = claimed[:300]
    for name, said in own["observed"].items():
        if name in observed and name != "model":
            # A digest that the application reports does not hide what its spans show.
            observed[f"{name}.seen"] = observed[name]
        observed[name] = _joined(said if isinstance(said, list) else [said])
    values = {name: text_of(name, own["values"].get(name)) for name in OWN_VALUES}
    return ReceiptDraft(
        run_id=run.trace_id,
        trace_id=run.trace_id,
        workflow=workflow,
        started_at=run.started_at,
        release=release,
        resolved_by=resolved_by,
        segment=_segment(own),
        case_id=str(_first(ordered, CASE) or "")[:200],
        duration_ms=run.duration_ns / 1e6,
        cost=_cost(run, spans),
        currency=str(_first(ordered, CURRENCY) or ""),
        escalated=flag_of("countersign.escalated", own["values"].get("escalated")),
        quality=float_of("countersign.quality", own["values"].get("quality")),
        amount=exact_of("countersign.amount", own["values"].get("amount")),
        refs={name: str(text) for name, text in own["ref"].items()},
        measures={
            name: number
            for name, value in own["measure"].items()
            if (number := float_of(f"countersign.measure.{name}", value)) is not None
        },
        violations=violations_of(own["values"].get("violations")),
        observed=observed,
        model_answered=str(_first(ordered, MODEL) or "")[:200],
        tokens_in=_total(spans, TOKENS_IN),
        tokens_out=_total(spans, TOKENS_OUT),
        error=_error(run),
        **values,
    )


def _names_workflow(span: SpanData) -> bool:
    return bool(span.attributes.get("countersign.workflow"))


def _is_workflow_like(span: SpanData) -> bool:
    attributes = span.attributes
    return (
        attributes.get("gen_ai.operation.name") in ("invoke_agent", "invoke_workflow")
        or attributes.get("traceloop.span.kind") in ("workflow", "agent")
        or attributes.get("openinference.span.kind") == "AGENT"
    )


def _is_root(span: SpanData) -> bool:
    return not span.parent_span_id


def _value(span: SpanData, name: str) -> Any:
    """What the span says, or else the resource it ran in."""
    value = span.attributes.get(name)
    if value is None and RESOURCE in span.attributes:
        value = span.attributes[RESOURCE].get(name)
    return value


def _pick(attributes: dict[str, Any], names: Sequence[str]) -> Any:
    """The first of these attributes that says something."""
    for name in names:
        value = attributes.get(name)
        if value is not None and value != "":
            return value
    return None


def _first(spans: Iterable[SpanData], names: Sequence[str]) -> Any:
    for span in spans:
        value = _pick(span.attributes, names)
        if value is not None:
            return value
    return None


def _own(spans: Sequence[SpanData]) -> dict[str, dict[str, Any]]:
    """Collect `countersign.*`: plain values, and the families segment, ref, measure, observed.

    The span that stands for the run is first, so it overrules its children.
    """
    own: dict[str, dict[str, Any]] = {
        "values": {}, "segment": {}, "ref": {}, "measure": {}, "observed": {},
    }  # fmt: skip
    for span in spans:
        for source in (span.attributes, span.attributes.get(RESOURCE, {})):
            for name, value in source.items():
                if not name.startswith("countersign."):
                    continue
                family, _, rest = name[len("countersign.") :].partition(".")
                if rest and family in own and family != "values":
                    own[family].setdefault(rest, value)
                elif not rest:
                    own["values"].setdefault(family, value)
    return own


def _segment(own: dict[str, dict[str, Any]]) -> str:
    if "segment" in own["values"]:
        return str(own["values"]["segment"])[:100]
    pairs = sorted(own["segment"].items())
    if len(pairs) == 1:
        return str(pairs[0][1])[:100]
    return ", ".join(f"{name}={value}" for name, value in pairs)[:100]


def _release(spans: Sequence[SpanData]) -> tuple[str, str, str]:
    """Return the release, what named it, and the first claim even if it is no digest.

    The order: our own attribute, the flag evaluation, the agent's version, then what the other
    conventions offer. A version that is no release digest resolves to nothing.
    """
    claimed = ""
    for name, value in _claims(spans):
        for text in _release_texts(name, value):
            if is_digest(text):
                return text, name, claimed
            claimed = claimed or text
    return "", "", claimed


def _claims(spans: Sequence[SpanData]) -> Iterator[tuple[str, Any]]:
    for span in spans:
        yield "countersign.release", _value(span, "countersign.release")
    for span in spans:
        holders = [event["attributes"] for event in span.attributes.get(EVENTS, ())]
        for holder in (*holders, span.attributes):
            for name in FLAG:
                yield name, holder.get(name)
    for name in RELEASE_AFTER_FLAG:
        for span in spans:
            yield name, _value(span, name)


def _release_texts(name: str, value: Any) -> Iterator[str]:
    """The texts in a claim: plain, or inside the JSON of a flag's value, metadata or tags."""
    if value is None:
        return
    if name.endswith("tags"):
        for tag in value if isinstance(value, list) else json_of(value) or ():
            if isinstance(tag, str) and tag.startswith("release:"):
                yield tag.removeprefix("release:")
        return
    parsed = json_of(value) if isinstance(value, str) and value[:1] in ('"', "{") else value
    if isinstance(parsed, dict):
        parsed = parsed.get("release")
    elif name.endswith("metadata"):
        return
    if isinstance(parsed, str) and parsed:
        yield parsed


def _observed(spans: Sequence[SpanData]) -> dict[str, str]:
    """What the spans show of the slots, to be compared with the manifest."""
    seen: dict[str, list[str]] = {}
    for span in spans:
        attributes = span.attributes
        prompt = _pick(attributes, PROMPT_NAME)
        version = _pick(attributes, PROMPT_VERSION)
        for slot, value in (
            ("model", _pick(attributes, MODEL)),
            ("prompt_policy", prompt if version is None else f"{prompt or ''}@{version}"),
            ("tools", _pick(attributes, TOOL)),
            ("retrieval", attributes.get("gen_ai.data_source.id")),
        ):
            if value is not None and str(value) not in seen.setdefault(slot, []):
                seen[slot].append(str(value))
    return {slot: _joined(values) for slot, values in seen.items()}


def _joined(values: Sequence[Any]) -> str:
    """Join names with commas; a list too long to keep ends with … and whole names before it."""
    texts = [str(value) for value in values]
    joined = ", ".join(texts)
    if len(joined) <= LONGEST_OBSERVED:
        return joined
    kept = joined[: LONGEST_OBSERVED - 3].rpartition(", ")[0]
    return f"{kept}, …" if kept else joined[: LONGEST_OBSERVED - 1] + "…"


def _carriers(
    spans: Sequence[SpanData], read: Callable[[dict[str, Any]], Any]
) -> list[tuple[SpanData, Any]]:
    """The spans that carry a value, without those that repeat the sum of what is below them."""
    carrying = {
        span.span_id: (span, value)
        for span in spans
        if (value := read(span.attributes)) is not None
    }
    if len(carrying) > 1:
        parents = {span.span_id: span.parent_span_id for span in spans}
        for key in list(carrying):
            above, steps = parents.get(key, ""), 0
            while above and steps <= len(parents):  # a ring of parents must not hold us
                carrying.pop(above, None)
                above, steps = parents.get(above, ""), steps + 1
    return list(carrying.values())


def _total(spans: Sequence[SpanData], names: Sequence[str]) -> int | None:
    carrying = _carriers(spans, lambda attributes: _pick(attributes, names))
    if not carrying:
        return None
    total = 0
    for _, value in carrying:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidInputError(f"{names[0]} must be a whole number, 0 or more.")
        total += value
    return total


def _cost(run: SpanData, spans: Sequence[SpanData]) -> Decimal | None:
    said = run.attributes.get("countersign.cost")
    if said is not None:
        return exact_of("countersign.cost", said)
    amounts = [exact_of(COST[0], value) for _, value in _carriers(spans, _cost_value)]
    # One negative part must not hide in a sum.
    if any(amount is not None and not amount >= 0 for amount in amounts):
        raise InvalidInputError("A cost must be 0 or more.")
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if known else None


def _cost_value(attributes: dict[str, Any]) -> Any:
    value = _pick(attributes, COST)
    if value is None and "langfuse.observation.cost_details" in attributes:
        details = json_of(attributes["langfuse.observation.cost_details"])
        value = details.get("total") if isinstance(details, dict) else None
    return value


def _error(run: SpanData) -> str:
    if run.status != 2 and "error.type" not in run.attributes:
        return ""
    kind = run.attributes.get("error.type")
    for event in run.attributes.get(EVENTS, ()):
        kind = kind or event["attributes"].get("exception.type")
    return str(kind or "error")[:500]
