"""The recall list as a page reads it: its filters, its counts, one page of rows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import urlencode

from django.db.models import Count, F, QuerySet, Sum
from django.db.models.expressions import OrderBy
from django.http import QueryDict

from dashboards.tones import Chip
from dashboards.windows import words
from governance.rollouts.models import PostMortem
from governance.rollouts.recovery_models import RecallRow

State = RecallRow.State
Rows = QuerySet[RecallRow]

CHIPS: dict[str, Chip] = {
    State.UNDECIDED: Chip("Undecided", "watch", "diamond"),
    State.NOTHING_NEEDED: Chip("Nothing needed", "none", "circle-minus"),
    State.RERUN: Chip("Run again", "accent", "refresh-cw"),
    State.CONTACTED: Chip("Customer contacted", "good", "circle-check"),
}
DECISIONS = tuple((state.value, state.label) for state in State if state != State.UNDECIDED)
ORDERS: dict[str, tuple[str, tuple[str | OrderBy, ...]]] = {
    "amount": ("largest amount first", (F("amount").desc(nulls_last=True), "case_id")),
    "newest": ("newest run first", ("-last_at", "case_id")),
    "case": ("by case", ("case_id",)),
}
LONGEST_AMOUNT = 15


@dataclass(frozen=True, slots=True)
class Asked:
    """What the query string asks for; what is wrong in it is as if it were not there."""

    state: str = ""
    outcome: str = ""
    text: str = ""
    escalated: str = ""
    least: Decimal | None = None
    order: str = "amount"

    @property
    def filters(self) -> bool:
        return bool(self.state or self.outcome or self.text or self.escalated) or (
            self.least is not None
        )

    def query(self, **changes: str) -> str:
        """The query string of this list, for a link or a way back after an act."""
        known = {
            "state": self.state, "outcome": self.outcome, "case": self.text,
            "escalated": self.escalated, "order": self.order if self.order != "amount" else "",
            "least": "" if self.least is None else f"{self.least:f}", **changes,
        }  # fmt: skip
        return urlencode({name: value for name, value in known.items() if value})


def asked_of(query: QueryDict) -> Asked:
    """Read the query string."""
    state, order = query.get("state", ""), query.get("order", "amount")
    escalated = query.get("escalated", "")
    return Asked(
        state=state if state in State.values else "",
        outcome=words(query, "outcome", 100),
        text=words(query, "case"),
        escalated=escalated if escalated in ("yes", "no") else "",
        least=_amount(query.get("least", "")),
        order=order if order in ORDERS else "amount",
    )


def _amount(text: str) -> Decimal | None:
    try:
        found = Decimal(text.strip().replace(",", "")) if len(text) <= LONGEST_AMOUNT else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


def rows_of(post_mortem: PostMortem, asked: Asked) -> Rows:
    """The rows that the query string asks for, in its order."""
    rows = RecallRow.objects.filter(post_mortem=post_mortem).select_related("decided_by")
    if asked.state:
        rows = rows.filter(state=asked.state)
    if asked.outcome:
        rows = rows.filter(outcome=asked.outcome)
    if asked.text:
        rows = rows.filter(case_id__icontains=asked.text)
    if asked.escalated:
        rows = rows.filter(escalated=asked.escalated == "yes")
    if asked.least is not None:
        rows = rows.filter(amount__gte=asked.least)
    return rows.order_by(*ORDERS[asked.order][1])


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many cases stand in one state, and what they are worth."""

    state: str
    chip: Chip
    cases: int
    amount: Decimal | None
    width: float  # of the bar, per cent


@dataclass(frozen=True, slots=True)
class Summary:
    """The recall list in numbers."""

    states: tuple[StateCount, ...]
    cases: int
    runs: int
    amount: Decimal | None
    undecided: int


def summary(post_mortem: PostMortem) -> Summary:
    """Count the list by state. One query."""
    found = {
        row["state"]: row
        for row in RecallRow.objects.filter(post_mortem=post_mortem)
        .order_by()
        .values("state")
        .annotate(cases=Count("pk"), whole=Sum("amount"), all_runs=Sum("runs"))
    }
    cases = sum(row["cases"] for row in found.values())
    amounts = [row["whole"] for row in found.values() if row["whole"] is not None]
    return Summary(
        states=tuple(
            StateCount(
                state, CHIPS[state], found[state]["cases"], found[state]["whole"],
                round(100 * found[state]["cases"] / cases, 2),
            )
            for state in State.values
            if state in found
        ),
        cases=cases,
        runs=sum(row["all_runs"] for row in found.values()),
        amount=sum(amounts, Decimal()) if amounts else None,
        undecided=found[State.UNDECIDED]["cases"] if State.UNDECIDED in found else 0,
    )  # fmt: skip


def outcomes(post_mortem: PostMortem) -> list[str]:
    """The outcomes that occur, for the filter."""
    rows = RecallRow.objects.filter(post_mortem=post_mortem).exclude(outcome="")
    return list(rows.order_by("outcome").values_list("outcome", flat=True).distinct()[:50])
