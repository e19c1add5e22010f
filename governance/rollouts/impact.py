"""What a bad release did: to the KPIs, and when, as the receipts say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Max, Min, Q, Sum

from governance.kpis.models import Kpi
from governance.kpis.readings import NOTHING, Total
from governance.receipts.models import Receipt, RollUp
from governance.rollouts.convergence import WATCHED_FOR
from governance.rollouts.models import PostMortem, Rollback
from governance.rollouts.recall import served_between

COMPARED_WITH = timedelta(days=28)  # of the release it went back to, before the bad one came


@dataclass(frozen=True, slots=True)
class KpiEffect:
    """One KPI over the runs of the bad release, and over those of the release before it."""

    kpi: Kpi
    on_bad: Total
    on_target: Total

    @property
    def difference(self) -> float | None:
        if self.on_bad.mean is None or self.on_target.mean is None:
            return None
        return self.on_bad.mean - self.on_target.mean

    @property
    def is_worse(self) -> bool:
        difference = self.difference or 0.0
        return difference > 0 if self.kpi.lower_is_better else difference < 0


def kpi_effects(rollback: Rollback) -> list[KpiEffect]:
    """Compare both releases by the roll-ups. Three queries, whatever the number of runs."""
    kpis = list(Kpi.objects.filter(workflow=rollback.workflow_id).select_related("owner"))
    if not kpis:
        return []
    since, until = served_between(rollback)
    rows = RollUp.objects.filter(
        workflow=rollback.workflow_id, measure__in={kpi.measure for kpi in kpis}
    )
    # By the hour: what ran on the same day, before or after, belongs to another time it served.
    hour = since.replace(minute=0, second=0, microsecond=0)
    served = Q(starts_at__gte=hour)
    if until is not None:
        served &= Q(starts_at__lt=until)
    bad = _sums(
        rows.filter(served, grain=RollUp.Grain.HOUR, release_digest=rollback.from_release_id)
    )
    before = _sums(
        rows.filter(
            grain=RollUp.Grain.HOUR, release_digest=rollback.to_release_id,
            starts_at__gte=hour - COMPARED_WITH, starts_at__lt=hour,
        )
    )  # fmt: skip
    return [
        KpiEffect(kpi, bad.get(kpi.measure, NOTHING), before.get(kpi.measure, NOTHING))
        for kpi in kpis
    ]


def _sums(rows: Any) -> dict[str, Total]:
    summed = rows.order_by().values("measure").annotate(runs=Sum("n"), whole=Sum("total"))
    return {row["measure"]: Total(int(row["runs"]), float(row["whole"])) for row in summed}


def sentence(effects: list[KpiEffect], rollback: Rollback) -> str:
    """The lead KPI in one sentence, kept with the post-mortem; empty where nothing was measured."""
    measured = [effect for effect in effects if effect.on_bad.mean is not None]
    measured.sort(key=lambda effect: not effect.kpi.is_lead)
    if not measured:
        return ""
    effect = measured[0]
    text = (
        f"{effect.kpi.name} was {_plain(effect.on_bad, effect.kpi)} over {effect.on_bad.n:,} runs"
        f" of {rollback.from_release.name}"
    )
    if effect.on_target.mean is not None:
        text += f", against {_plain(effect.on_target, effect.kpi)} on {rollback.to_release.name}"
    return f"{text}."[:300]


def _plain(total: Total, kpi: Kpi) -> str:
    mean = total.mean or 0.0
    if kpi.unit == Kpi.Unit.SHARE:
        return f"{100 * mean:.1f} %"
    if kpi.unit == Kpi.Unit.MONEY:
        return f"${mean:,.2f}"
    return f"{mean:,.4g} {kpi.get_unit_display().lower()}"


def receipts_say(post_mortem: PostMortem) -> list[dict[str, str]]:
    """The timeline's entries that come from the receipts, not from the audit."""
    rollback = post_mortem.rollback
    bad, target = rollback.from_release, rollback.to_release
    span = post_mortem.recall.aggregate(first=Min("first_at"), last=Max("last_at"))
    if span["first"] is None:
        return []
    since = span["first"]
    worst = (
        Receipt.objects.filter(
            workflow=rollback.workflow_id, day__gte=since.date(), started_at__gte=since,
            started_at__lte=span["last"], release_digest=bad.pk,
        )
        .exclude(violations=[])
        .order_by("started_at")
        .values_list("started_at", "violations")
        .first()
    )  # fmt: skip
    until = rollback.done_at + WATCHED_FOR
    restored = Receipt.objects.filter(
        workflow=rollback.workflow_id, day__range=(rollback.done_at.date(), until.date()),
        started_at__range=(rollback.done_at, until), release_digest=target.pk,
    ).aggregate(first=Min("started_at"))["first"]  # fmt: skip
    found = [
        (since, f"first run on {bad.name}"),
        (worst[0] if worst else None, f"first run on {bad.name} that reports a violation"),
        (span["last"], f"last run on {bad.name}"),
        (restored, f"first run on {target.name} after the rollback"),
    ]
    return [
        {
            "at": at.isoformat(), "who": "Run receipts", "what": what, "reason": "", "seq": "",
            "source": "receipts",
        }
        for at, what in found
        if at is not None
    ]  # fmt: skip
