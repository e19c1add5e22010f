"""The JSON API: propose a promotion, and read how far it is. No token can approve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Field, Schema

from governance.api.middleware import problem
from governance.api.releases import PREFIX, TEXT, Token, token_of
from governance.api.releases import api as api
from governance.common.canonical import digest, is_digest
from governance.common.errors import InvalidInputError
from governance.kpis.models import Kpi
from governance.people.models import ApiToken
from governance.releases.models import LiveRelease, Release
from governance.rollouts import rules, services
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.proposals import Expectation
from governance.rollouts.road_models import StandingApproval

SCOPE = ApiToken.Scope.PROMOTIONS_PROPOSE
ASK_AGAIN = "10"  # seconds
KEY = "Idempotency-Key"


class Expected(Schema):
    kpi: str = Field(description="The slug of a KPI of the workflow.", max_length=100, pattern=TEXT)
    change: float = Field(description="In the KPI's unit; rates in percentage points, such as -2.")
    note: str = Field("", max_length=300, pattern=TEXT)


class Step(Schema):
    share: int = Field(description="Basis points of the cases: 500 is 5 %.")
    minutes: int = Field(0, description="At least so long.")
    runs: int = Field(0, description="At least so many run receipts.")


class NewPromotion(Schema):
    release: str = Field(description="The digest of a registered release.")
    rationale: str = Field(min_length=1, max_length=4000, pattern=TEXT)
    road: str = Field("promotion", description="promotion or maintenance.")
    pilot_steps: list[Step] = Field([], description="How it reaches every case; empty: at once.")
    expects: Expected | None = Field(None, description="What it is meant to do to a KPI.")
    fixes: int | None = Field(None, description="The unfinished post-mortem that this fixes.")
    standing: int | None = Field(None, description="The standing approval this is a use of.")


@api.post("promotions", auth=Token(SCOPE), summary="Propose a promotion")
def propose_promotion(request: HttpRequest, body: NewPromotion) -> HttpResponse:
    """Ask for a release to become live. The gate judges it, then its KPI owner decides.

    201 when it is new; with an `Idempotency-Key` the same request again is 200 and the same
    promotion, and another request under that key is 409.
    """
    token = token_of(request)
    release = (
        Release.objects.filter(pk=body.release).select_related("workflow").first()
        if is_digest(body.release)
        else None
    )
    if release is None or not token.allows(SCOPE, release.workflow.slug):
        return problem("No release has this digest.", 404)
    propose = _proposal(release, body, token)
    key = request.headers.get(KEY)
    if key is None:
        promotion, is_new = propose(), True
    else:
        promotion, is_new = services.propose_once(token, key, digest(body.dict()), propose)
    return JsonResponse(_as_json(promotion), status=201 if is_new else 200)


def _proposal(release: Release, body: NewPromotion, token: ApiToken) -> Callable[[], Promotion]:
    """Look up what the request names, and return what remains to be done."""
    workflow = release.workflow
    fixes = standing = expects = None
    if body.fixes is not None:
        fixes = PostMortem.objects.filter(pk=body.fixes, rollback__workflow=workflow).first()
        if fixes is None:
            raise InvalidInputError("This workflow has no such post-mortem.")
    if body.standing is not None:
        standing = StandingApproval.objects.filter(pk=body.standing, workflow=workflow).first()
        if standing is None:
            raise InvalidInputError("This workflow has no such standing approval.")
    if body.expects is not None:
        kpi = Kpi.objects.filter(workflow=workflow, slug=body.expects.kpi).first()
        if kpi is None:
            raise InvalidInputError(f"This workflow has no KPI {body.expects.kpi!r}.")
        expects = Expectation(kpi, body.expects.change, body.expects.note)
    return lambda: services.propose_promotion(
        release,
        actor=token,
        rationale=body.rationale,
        fixes=fixes,
        road=body.road,
        pilot_steps=[step.dict() for step in body.pilot_steps],
        expects=expects,
        standing=standing,
    )


@api.get("promotions/{int:promotion}", auth=Token(SCOPE), summary="Read a promotion's state")
def read_promotion(request: HttpRequest, promotion: int) -> HttpResponse:
    """How far it is, for CI to wait on: ask again after `Retry-After` while `open` is true."""
    found = Promotion.objects.for_page().filter(pk=promotion).first()
    if found is None or not token_of(request).allows(SCOPE, found.workflow.slug):
        return problem("There is no such promotion.", 404)
    response = JsonResponse(_as_json(found))
    if found.is_open:
        response["Retry-After"] = ASK_AGAIN
    return response


@api.get(
    "promotions/{int:promotion}/gate-report",
    auth=Token(SCOPE),
    summary="Read the newest verdict of a promotion's gate",
)
def read_gate_report(request: HttpRequest, promotion: int) -> HttpResponse:
    """The report as it was judged and stored: verdict, table, refusals, what would settle it."""
    found = Promotion.objects.for_page().filter(pk=promotion).first()
    if found is None or not token_of(request).allows(SCOPE, found.workflow.slug):
        return problem("There is no such promotion.", 404)
    if found.gate_report is None:
        return problem("Its gate has not judged yet.", 404)
    # The stored text itself: its SHA-256 is the digest that an approval is bound to.
    return HttpResponse(found.gate_report.content_text, content_type="application/json")


def _as_json(promotion: Promotion) -> dict[str, Any]:
    live = LiveRelease.objects.filter(workflow=promotion.workflow_id).first()
    report = promotion.gate_report
    pilot = getattr(promotion, "pilot", None)
    is_piloting = promotion.state == Promotion.State.PILOTING
    return {
        "promotion": promotion.pk,
        "workflow": promotion.workflow.slug,
        "release": promotion.release_id,
        "base": promotion.base_id,
        "road": promotion.road,
        "state": promotion.state,
        "open": promotion.is_open,
        "live": live is not None
        and not live.switched_off
        and live.release_id == promotion.release_id,
        "round": promotion.review_round,
        "risk": promotion.risk,
        "risk_reasons": promotion.risk_reasons,
        "verdict": report.verdict if report is not None else None,
        "verdict_says": str(report.content.get("sentence", "")) if report is not None else "",
        "gate_report": promotion.gate_report_id,
        "waits_for": rules.missing_approvals(promotion) if promotion.waits_for_approval else [],
        "stale": rules.staleness_at_decision(promotion, live)
        if promotion.waits_for_approval
        else "",
        "pilot_share": pilot.steps[pilot.step]["share"] if pilot and is_piloting else None,
        "closed_at": promotion.closed_at.isoformat() if promotion.closed_at else None,
        "closing_reason": promotion.closing_reason,
        "url": f"{PREFIX}promotions/{promotion.pk}",
        "page": f"/promotions/{promotion.pk}/",
    }
