"""What would become of a proposal, said before anybody sends it. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from governance.common.errors import InvalidInputError
from governance.common.time import now
from governance.evals import services as evals
from governance.evals.policy import GatePolicy
from governance.evals.scorers import evaluator_for
from governance.evals.targets import TargetError
from governance.people.models import User
from governance.releases.diff import ReleaseDiff, compare, documents_changed
from governance.releases.models import LiveRelease, Release, Slot
from governance.rollouts import freezes, pilots, quorum, rules, standing
from governance.rollouts.live import live_release
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.road_models import FreezeWindow, StandingApproval

Subject = Promotion | PostMortem | FreezeWindow | Release | None


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What stands in the way. `refuses`: it cannot even be asked; else it waits, later on."""

    sentence: str
    refuses: bool
    about: Subject = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What changes, how risky it is, who decides, and what would hold it back now."""

    promotion: Promotion  # not stored
    live: LiveRelease | None
    difference: ReleaseDiff
    hindrances: tuple[Hindrance, ...]
    makers: tuple[quorum.Maker, ...]
    parts: tuple[quorum.Part, ...]
    envelopes: tuple[tuple[StandingApproval, str], ...]  # each with why it does not fit, or ""

    @property
    def can_be_asked(self) -> bool:
        return not any(hindrance.refuses for hindrance in self.hindrances)


def preview(
    release: Release,
    *,
    actor: User,
    road: str = Promotion.Road.PROMOTION,
    fixes: PostMortem | None = None,
    pilot_steps: Sequence[Mapping[str, Any]] = (),
    envelope: StandingApproval | None = None,
) -> Preview:
    """Look at a proposal as `propose_promotion` would, and name everything at once."""
    workflow = release.workflow
    live = live_release(workflow)
    base = live.release if live else None
    before = base.contents() if base else {}
    difference = compare(before, release.contents())
    promotion = Promotion(
        workflow=workflow, release=release, base=base, road=road, fixes=fixes,
        risk=difference.risk, risk_reasons=list(difference.reasons), requested_by=actor,
        documents_changed=documents_changed(before, release.contents()),
    )  # fmt: skip
    made_by = quorum.makers(promotion)
    envelopes = tuple(
        (row, standing.misfit(row, promotion, difference))
        for row in StandingApproval.objects.filter(workflow=workflow).in_force(now())
    )
    parts = quorum.parts(promotion, made_by)
    found = _refusals(promotion, live, difference, pilot_steps)
    if envelope is not None:
        why = next((why for row, why in envelopes if row.pk == envelope.pk), "It has ended.")
        if why:
            found.append(Hindrance(f"It does not fit “{envelope.title}”. {why}", refuses=True))
    found += _waits(promotion)
    if envelope is None:
        found += [Hindrance(part.nobody, refuses=False) for part in parts if not part.voices]
    return Preview(
        promotion, live, difference, tuple(found), tuple(made_by), tuple(parts), envelopes
    )


def _refusals(
    promotion: Promotion,
    live: LiveRelease | None,
    difference: ReleaseDiff,
    pilot_steps: Sequence[Mapping[str, Any]],
) -> list[Hindrance]:
    """Why it cannot be asked now."""
    workflow, found = promotion.workflow, []
    open_one = Promotion.objects.open().filter(workflow=workflow).select_related("release").first()
    if open_one is not None:
        found.append(
            Hindrance(
                f"{open_one.release.name} is asked for already. It is decided or withdrawn first.",
                True, open_one,
            )
        )  # fmt: skip
    blocking = rules.blocking_post_mortem(workflow, promotion.fixes_id)
    if blocking is not None:
        found.append(
            Hindrance(
                f"The post-mortem “{blocking.title}” is not finished. Finish it, or ask for this"
                " release as its fix.",
                True, blocking,
            )
        )  # fmt: skip
    if live is not None and live.release_id == promotion.release_id:
        found.append(Hindrance(f"{promotion.release.name} is live already.", refuses=True))
    elif difference.is_empty:
        found.append(Hindrance("There is no difference from what is live.", refuses=True))
    policy = evals.current_policy(workflow, promotion.risk)
    if policy is None:
        found.append(
            Hindrance(
                "There is no confirmed gate policy. The KPI owner proposes one, another person"
                " confirms it.",
                refuses=True,
            )
        )
    if promotion.road == Promotion.Road.MAINTENANCE:
        if Slot.MODEL not in {slot.slot for slot in difference.changed}:
            found.append(
                Hindrance("A maintenance change replaces the model; this one does not.", True)
            )
        if policy is not None and not policy.content.get("guardrails"):
            found.append(
                Hindrance(
                    "The gate policy has no guardrail to judge a maintenance change on.", True
                )
            )
    try:
        if pilots.checked_steps(pilot_steps) and live is None:
            found.append(
                Hindrance("A pilot needs a stable release beside it, and nothing is live.", True)
            )
    except InvalidInputError as wrong:
        found.append(Hindrance(str(wrong), refuses=True))
    suites = evals.evidence_suites(workflow).values()
    if suites:
        try:
            evaluator_for(workflow.slug)
        except TargetError as missing:
            # What another tool measured will do, where it measured both sides.
            sides = [side for side in (promotion.release, promotion.base) if side is not None]
            if any(evals.finished_run(side, suite) is None for suite in suites for side in sides):
                found.append(Hindrance(str(missing), refuses=True))
    return found


def _waits(promotion: Promotion) -> list[Hindrance]:
    """What lets it be asked, and would hold it back later."""
    workflow, moment = promotion.workflow, now()
    found = [
        Hindrance(
            f"{window.name} holds everything back until {window.ends_at:%a %d %b %H:%M} UTC. An"
            " executive may let this promotion through by name.",
            False, window,
        )
        for window in freezes.holding(promotion, moment).order_by("ends_at")
    ]  # fmt: skip
    policy = evals.current_policy(workflow, promotion.risk)
    if policy is None:
        return found
    suites = evals.evidence_suites(workflow)
    for rule in GatePolicy.from_content(policy.content).suites:
        kind, suite = rule.kind, suites.get(rule.kind)
        if suite is None:
            found.append(
                Hindrance(
                    f"There is no {kind} suite: the gate will say not enough evidence.", False
                )
            )
            continue
        if suite.case_count < rule.min_cases:
            found.append(
                Hindrance(
                    f"The {kind} suite has {suite.case_count} cases; the policy asks for"
                    f" {rule.min_cases}: the gate will say not enough evidence.",
                    refuses=False,
                )
            )
        age = (moment - suite.sampled_to).days if suite.sampled_to else None
        if rule.max_age_days is not None and (age is None or age >= rule.max_age_days):
            how_old = "on an unknown day" if age is None else f"{age} days ago"
            found.append(
                Hindrance(
                    f"The {kind} suite was sampled {how_old}; the policy allows"
                    f" {rule.max_age_days} days: the gate will say not enough evidence.",
                    refuses=False,
                )
            )
    return found
