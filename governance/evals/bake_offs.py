"""Bake-offs: several releases run on the same cases at the same time, and one table of them.

A bake-off decides nothing: what shall be live is proposed and judged by its gate like any other
release. Its runs are ordinary eval runs, asked for together so that all are scored alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import QuerySet

from governance import audit
from governance.common.canonical import canonical, digest_text
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.actors import edits, lock
from governance.evals.bake_off_table import table_of
from governance.evals.decision_models import BakeOff
from governance.evals.evaluators import current_evaluator
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.policy import METRICS, SCORE, metric_named
from governance.evals.racing import COST, LATENCY
from governance.evals.requests import BAKE_OFF, request_run
from governance.evals.running import CLOSED, WORKER, cancel_run
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.releases.models import Release
from governance.workflows.models import Workflow

FEWEST, MOST = 2, 8
LONGEST_TITLE = 120
# What these measure is compared in any case; a race is for something else.
BESIDE = (COST, LATENCY)

register_rule("bake_off.request", edits, "Analysts, builders and the KPI owner ask for evals.")


def race_metrics(workflow: Workflow) -> dict[str, str]:
    """Return what releases of this workflow can race for: name and label."""
    found = {name: metric.label for name, metric in METRICS.items() if name not in BESIDE}
    evaluator = current_evaluator(workflow)
    for entry in evaluator.content["scorers"] if evaluator else ():
        metric = metric_named(f"{SCORE}{entry['name']}")
        if metric is not None:
            found[metric.name] = metric.label
    return found


def request_bake_off(
    suite: SuiteVersion,
    releases: Sequence[Release],
    *,
    reference: Release,
    metric: str,
    title: str,
    repeats: int = 1,
    slot: str,
    actor: User,
) -> BakeOff:
    """Have several releases run on one suite. The same slot is the same bake-off.

    Args:
        releases: 2 to 8, the reference among them.
        reference: what the others are compared with, usually the live release.
        metric: the quality they race for, one of `race_metrics`.
        repeats: how often each case is run, 1 to 20.

    Raises:
        InvalidInputError: too few or too many releases, one of another workflow, an unknown
            metric, no title.
        NotAllowedError: a person who does not ask for evals.
        StateConflictError: a bake-off on this suite still runs.
    """
    workflow = suite.workflow
    require(actor, "bake_off.request", workflow)
    title = " ".join(title.split())
    racers = list({release.pk: release for release in releases}.values())
    if not 1 <= len(title) <= LONGEST_TITLE:
        raise InvalidInputError(f"Say in 1 to {LONGEST_TITLE} characters what it is about.")
    if not FEWEST <= len(racers) <= MOST:
        raise InvalidInputError(f"Choose {FEWEST} to {MOST} releases.")
    if reference.pk not in {release.pk for release in racers}:
        raise InvalidInputError("The release that the others are compared with has to run as well.")
    if any(release.workflow_id != workflow.pk for release in racers):
        raise InvalidInputError("Only releases of one workflow can race.")
    if metric not in race_metrics(workflow):
        raise InvalidInputError("Choose what the releases race for.")
    with audit.atomic():
        lock(workflow)
        earlier = BakeOff.objects.filter(slot=slot).first()
        if earlier is not None:
            same = (title, repeats) == (earlier.title, earlier.repeats)
            if not same or not _asks_the_same(earlier, suite, metric, reference, racers):
                raise StateConflictError("This page has started a bake-off already. Load it again.")
            return earlier
        if BakeOff.objects.filter(suite=suite, state=BakeOff.State.RUNNING).exists():
            raise StateConflictError(
                f"A bake-off on {suite} still runs. Wait for it, or cancel it."
            )
        made = BakeOff.objects.create(
            workflow=workflow, title=title, suite=suite, metric=metric, reference=reference,
            repeats=repeats, slot=slot, requested_by=actor,
            requested_by_label=actor.as_actor().label, requested_at=now(),
        )  # fmt: skip
        runs = [
            request_run(
                release, suite, actor=actor, purpose=BAKE_OFF,
                slot=f"bake-off {made.pk} {release.pk}", repeats=repeats,
            )
            for release in racers
        ]  # fmt: skip
        made.releases.set(racers)
        made.runs.set(runs)
        audit.record(
            "bake_off.requested", made, actor=actor, workflow=workflow.slug, title=title,
            suite=suite.digest, metric=metric, reference=reference.pk,
            releases=[release.pk for release in racers], repeats=repeats,
        )  # fmt: skip
    return made


def _asks_the_same(
    earlier: BakeOff, suite: SuiteVersion, metric: str, reference: Release,
    racers: Sequence[Release],
) -> bool:  # fmt: skip
    there = set(earlier.releases.values_list("pk", flat=True))
    return (
        (earlier.suite_id, earlier.metric) == (suite.pk, metric)
        and earlier.reference_id == reference.pk
        and there == {release.pk for release in racers}
    )


@audit.atomic()
def cancel_bake_off(bake_off: BakeOff, *, actor: User) -> BakeOff:
    """Stop it with every run of it that still goes on.

    Raises:
        NotAllowedError: a person who does not ask for evals.
        StateConflictError: it has ended.
    """
    found = BakeOff.objects.select_for_update().get(pk=bake_off.pk)
    require(actor, "bake_off.request", found.workflow)
    if found.state != BakeOff.State.RUNNING:
        raise StateConflictError("This bake-off has ended already.")
    for run in found.runs.exclude(state__in=CLOSED).order_by("pk"):
        cancel_run(run, actor=actor)
    found.state = BakeOff.State.CANCELLED
    found.finished_at = now()
    found.cancelled_by_label = actor.as_actor().label
    found.save(update_fields=["state", "finished_at", "cancelled_by_label"])
    audit.record("bake_off.cancelled", found, actor=actor, workflow=found.workflow.slug)
    return found


def finish_bake_offs(open_ones: QuerySet[BakeOff] | None = None) -> int:
    """Make the table of every bake-off whose runs have all ended. Returns how many."""
    waiting = (BakeOff.objects.all() if open_ones is None else open_ones).filter(
        state=BakeOff.State.RUNNING
    )
    ended = waiting.exclude(
        pk__in=BakeOff.objects.filter(runs__in=EvalRun.objects.exclude(state__in=CLOSED))
    )
    return sum(_finish(pk) for pk in ended.values_list("pk", flat=True))


def finish_bake_off_of(run_id: int) -> None:
    """Make the table that waited for this run, where it was the last one."""
    finish_bake_offs(BakeOff.objects.filter(runs=run_id))


def _finish(pk: int) -> bool:
    bake_off = BakeOff.objects.select_related("suite__workflow", "workflow").get(pk=pk)
    text = canonical(table_of(bake_off))
    with audit.atomic():
        found = BakeOff.objects.select_for_update().get(pk=pk)
        if found.state != BakeOff.State.RUNNING:
            return False
        found.state = BakeOff.State.DONE
        found.content_text = text
        found.digest = digest_text(text)
        found.finished_at = now()
        found.save(update_fields=["state", "content_text", "digest", "finished_at"])
        audit.record(
            "bake_off.finished", found, actor=WORKER, workflow=bake_off.workflow.slug,
            digest=found.digest, suite=bake_off.suite.digest,
        )  # fmt: skip
    return True
