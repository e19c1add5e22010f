"""ReceiptDraft: one run as it was reported, and the rules by which it is accepted. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from governance.common.canonical import is_digest
from governance.common.errors import InvalidInputError
from governance.common.json_faults import LARGEST_SAFE_INTEGER
from governance.receipts.redaction import redact, redact_identity

OLDEST = timedelta(days=3 * 366)  # each day of receipts is a table: no days without bounds
MOST_AHEAD = timedelta(days=1)  # a sender's clock may be wrong, its calendar may not
LONGEST_RUN_MS = 31 * 86_400_000.0
HIGHEST_COST = Decimal("1e9")
HIGHEST_AMOUNT = Decimal("1e13")
LARGEST_MEASURE = 1e12
LONGEST_MEASURE = timedelta(days=3652)  # ten years
# Of these, every mean is read as a share.
SHARES = frozenset({"correct", "policy_ok", "silent_error"})
MOST_MEASURES = 30
LONGEST_OBSERVED = 2_000  # characters: names of tools or documents, joined
MOST_NAMES = 30  # references, observed names, violations
ERROR_LENGTH = 500
ACCEPTANCES = ("", "as_is", "edited", "rejected")
# The roll-ups have these from the receipt's own columns.
OWN_MEASURES = frozenset({"runs", "escalated", "cost", "latency_ms", "error", "quality"})
MEASURE_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}\Z")
SHA256 = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")
CURRENCY = re.compile(r"[A-Z]{3}\Z")
# As JSON writes it: Decimal would also take "1_000", " 1" and the digits of other scripts.
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
MOST_DIGITS = 100
UNPRINTABLE = re.compile("[\x00-\x1f\x7f]")
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDraft:
    """One run as reported; None and "" mean that nobody said. Money in Decimal, quality 0 to 1."""

    run_id: str
    workflow: str
    started_at: datetime
    release: str = ""
    resolved_by: str = ""
    segment: str = ""
    case_id: str = ""
    duration_ms: float | None = None
    cost: Decimal | None = None
    currency: str = ""
    escalated: bool | None = None
    outcome: str = ""
    quality: float | None = None
    acceptance: str = ""
    amount: Decimal | None = None
    refs: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    violations: Sequence[str] | None = None  # None: nobody checked; empty: checked, none found
    observed: Mapping[str, str] = field(default_factory=dict)
    model_answered: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    error: str = ""
    trace_id: str = ""
    output_sha256: str = ""

    @property
    def day(self) -> date:
        """The UTC day that, with `run_id`, is the receipt's identity."""
        return self.started_at.astimezone(UTC).date()


def clean(text: str) -> str:
    """Return `text` without what PostgreSQL cannot hold: NUL and lone surrogates."""
    return UNSTORABLE.sub("\ufffd", text)


def decimal_of(value: object) -> Decimal | None:
    """Return a JSON number, or one written as text, as Decimal; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value)
    if len(text) > MOST_DIGITS or not NUMBER.match(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all bounds
        return None


def checked(
    draft: ReceiptDraft,
    moment: datetime,
    units: Mapping[str, str] | None = None,
    patterns: Sequence[re.Pattern[str]] = (),
) -> ReceiptDraft:
    """Return the draft in the form in which it is stored.

    Args:
        moment: the true time now; decides which `started_at` is too old or ahead of the clock.
        patterns: an operator's own patterns of personal data, see `redaction`.
        units: of measures that a KPI reads (share, seconds, ms), which bounds them; else the
            name does: those of SHARES are shares, `_s` is seconds, `_ms` milliseconds.

    Raises:
        InvalidInputError: one sentence about the first value that cannot be accepted.
    """
    _identity("run_id", draft.run_id, 200, needed=True)
    _identity("workflow", draft.workflow, 100, needed=True)
    _identity("trace_id", draft.trace_id, 32)
    started_at = _started_at(draft.started_at, moment)
    if draft.release and not is_digest(draft.release):
        raise InvalidInputError(
            f"release must look like sha256: and 64 lower-case hex digits, not"
            f" {clean(draft.release[:80])!r}."
        )
    if draft.output_sha256 and not SHA256.match(draft.output_sha256):
        raise InvalidInputError("output_sha256 must be 64 lower-case hex digits.")
    if draft.acceptance not in ACCEPTANCES:
        raise InvalidInputError("acceptance must be as_is, edited or rejected.")
    if draft.currency and not CURRENCY.match(draft.currency):
        raise InvalidInputError("currency must be three capital letters, such as USD.")
    if draft.escalated is not None and not isinstance(draft.escalated, bool):
        raise InvalidInputError("escalated must be true or false.")
    measures = _measures(draft.measures, units or {})
    violations = _violations(draft.violations)
    if violations is not None:
        measures.setdefault("policy_ok", 0.0 if violations else 1.0)
    return replace(
        draft,
        started_at=started_at,
        resolved_by=_text("resolved_by", draft.resolved_by, 60),
        segment=redact(_text("segment", draft.segment, 100), patterns)[:100],
        case_id=redact_identity(_text("case_id", draft.case_id, 200), patterns),
        duration_ms=_number("duration_ms", draft.duration_ms, 0.0, LONGEST_RUN_MS),
        cost=_money("cost", draft.cost, Decimal(0), HIGHEST_COST, 8),
        outcome=redact(_text("outcome", draft.outcome, 100), patterns)[:100],
        quality=_number("quality", draft.quality, 0.0, 1.0),
        amount=_money("amount", draft.amount, -HIGHEST_AMOUNT, HIGHEST_AMOUNT, 4),
        refs={
            name: redact(text, patterns)
            for name, text in _texts("refs", draft.refs, 60, 200).items()
        },
        measures=measures,
        violations=violations,
        observed=_texts("observed", draft.observed, 60, LONGEST_OBSERVED),
        model_answered=_text("model_answered", draft.model_answered, 200),
        tokens_in=_count("tokens_in", draft.tokens_in),
        tokens_out=_count("tokens_out", draft.tokens_out),
        error=redact(clean(draft.error)[: 2 * ERROR_LENGTH], patterns)[:ERROR_LENGTH],
    )


def body_hash(draft: ReceiptDraft) -> str:
    """Return 64 hex digits over everything the sender said; tells a repeat from a conflict."""
    said = [
        draft.run_id, draft.workflow, draft.started_at.astimezone(UTC).isoformat(), draft.release,
        draft.resolved_by, draft.segment, draft.case_id, draft.duration_ms, _plain(draft.cost),
        draft.currency, draft.escalated, draft.outcome, draft.quality, draft.acceptance,
        _plain(draft.amount), dict(draft.refs), dict(draft.measures),
        None if draft.violations is None else list(draft.violations), dict(draft.observed),
        draft.model_answered, draft.tokens_in, draft.tokens_out, draft.error, draft.trace_id,
        draft.output_sha256,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else format(value.normalize(), "f")


def _identity(name: str, value: object, longest: int, *, needed: bool = False) -> None:
    """Refuse what would not be the same name after storing it."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be text.")
    if needed and not value.strip():
        raise InvalidInputError(f"{name} is missing.")
    if len(value) > longest:
        raise InvalidInputError(f"{name} is longer than {longest} characters.")
    if UNPRINTABLE.search(value) or UNSTORABLE.search(value):
        raise InvalidInputError(f"{name} holds control characters or broken Unicode.")


def _started_at(value: object, moment: datetime) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidInputError("started_at is missing.")
    if value.utcoffset() is None:
        raise InvalidInputError("started_at needs its time zone, such as 2026-11-22T10:00:00Z.")
    try:
        started_at = value.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInputError("started_at is not a date that exists.") from error
    if started_at > moment + MOST_AHEAD:
        raise InvalidInputError("started_at is more than a day ahead of this server's clock.")
    if started_at < moment - OLDEST:
        raise InvalidInputError("started_at is more than three years ago.")
    return started_at


def _text(name: str, value: object, longest: int) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be text.")
    if len(value) > longest:
        raise InvalidInputError(f"{name} is longer than {longest} characters.")
    return clean(value)


def _number(name: str, value: object, lowest: float, highest: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"{name} must be a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or not lowest <= number <= highest:
        raise InvalidInputError(f"{name} must be from {lowest:g} to {highest:g}.")
    return number


def _count(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{name} must be a whole number.")
    if not 0 <= value <= LARGEST_SAFE_INTEGER:
        raise InvalidInputError(f"{name} must be from 0 to 2^53.")
    return value


def _money(
    name: str, value: object, lowest: Decimal, highest: Decimal, places: int
) -> Decimal | None:
    if value is None:
        return None
    if not isinstance(value, Decimal):
        raise InvalidInputError(f"{name} must be a decimal number.")
    if not value.is_finite() or not lowest <= value <= highest:
        raise InvalidInputError(f"{name} must be from {lowest:f} to {highest:f}.")
    return value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)


def _texts(name: str, value: object, key_length: int, longest: int) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > MOST_NAMES:
        raise InvalidInputError(f"{name} must be an object of at most {MOST_NAMES} texts.")
    return {
        _text(f"A name in {name}", key, key_length): _text(f"{name}.{key}"[:80], text, longest)
        for key, text in value.items()
    }


def _measures(value: object, units: Mapping[str, str]) -> dict[str, float]:
    if not isinstance(value, Mapping) or len(value) > MOST_MEASURES:
        raise InvalidInputError(f"measures must be an object of at most {MOST_MEASURES} numbers.")
    found = {}
    for name, number in value.items():
        if not isinstance(name, str) or not MEASURE_NAME.match(name):
            raise InvalidInputError(
                "A measure is named with lower-case letters, digits and _, at most 60."
            )
        if name in OWN_MEASURES:
            raise InvalidInputError(f"{name} is a field of the receipt, not a further measure.")
        amount = float(number) if isinstance(number, bool) else number
        measured = _measure(name, amount, units.get(name) or _unit(name))
        if measured is not None:
            found[name] = measured
    return found


def _unit(name: str) -> str:
    if name in SHARES:
        return "share"
    return {"s": "seconds", "ms": "ms"}.get(name.rpartition("_")[2] if "_" in name else "", "")


def _measure(name: str, value: object, unit: str) -> float | None:
    """One value spoils a whole mean, so none may be outside what its unit can be."""
    measured = _number(f"measures.{name}", value, -LARGEST_MEASURE, LARGEST_MEASURE)
    if measured is None:
        return None
    if unit == "share" and not 0.0 <= measured <= 1.0:
        raise InvalidInputError(f"measures.{name} is a share: it must be from 0 to 1.")
    if unit in ("seconds", "ms"):
        longest = LONGEST_MEASURE.total_seconds() * (1 if unit == "seconds" else 1_000)
        if not 0.0 <= measured <= longest:
            raise InvalidInputError(
                f"measures.{name} is a time: it must be from 0 to {longest:,.0f} {unit}"
                " (ten years)."
            )
    return measured


def _violations(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > MOST_NAMES:
        raise InvalidInputError(f"violations must be a list of at most {MOST_NAMES} names.")
    names = [_text("A violation's name", name, 100) for name in value]
    if not all(name.strip() for name in names):
        raise InvalidInputError("A violation needs a name.")
    return tuple(sorted(set(names)))
