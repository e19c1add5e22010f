"""Setting a finding aside on the page of a gate's report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from governance.evals.decision_models import GateWaiver
from governance.evals.services import confirm_policy, set_policy
from governance.people.models import User
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.rollouts.rules import staleness
from tests.rollouts.conftest import POLICY, work

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
WHY = "More cases are being written this week."


def test_what_is_open_is_set_aside_on_the_page_and_ends_with_a_click(
    waiting: Promotion, owner: User, analyst: User, builder: User, cfo: User, login: Login
) -> None:
    """A policy that asks for more cases than there are refuses what waits, until it is waived."""
    workflow, release = waiting.workflow, waiting.release
    stricter: dict[str, Any] = {**POLICY, "suites": {"golden": {"min_cases": 5_000}}}
    confirm_policy(set_policy(workflow, stricter, actor=owner), actor=analyst)
    services.withdraw_promotion(waiting.pk, actor=builder, reason="Under the new policy.")

    def asked() -> Promotion:
        found = services.propose_promotion(release, actor=builder, rationale="Better.")
        work()
        found.refresh_from_db()
        return found

    refused = asked()
    assert refused.state == Promotion.State.REFUSED
    assert refused.gate_report is not None
    url = f"/gate-reports/{refused.gate_report_id}/"
    page = login(cfo).get(url).content.decode()
    assert "Set aside: The golden suite has" in page
    assert "Set aside: The golden suite has" not in login(builder).get(url).content.decode()
    sent = {"code": "too_few_cases", "suite": "golden", "metric": "", "reason": WHY, "days": 5}
    assert login(builder).post(f"{url}waive/", sent).status_code == 403
    assert login(cfo).post(f"{url}waive/", {**sent, "reason": "no"}).status_code == 422
    assert login(cfo).post(f"{url}waive/", sent).status_code == 302
    assert login(cfo).post(f"{url}waive/", sent).status_code == 409
    page = login(cfo).get(url).content.decode()
    assert WHY in page
    assert "Waived" in page

    passed = asked()
    assert passed.state == Promotion.State.AWAITING_OWNER
    report = f"/gate-reports/{passed.gate_report_id}/"
    assert "one finding set aside" in login(owner).get(report).content.decode()
    assert "one finding set aside" in login(owner).get(f"/promotions/{passed.pk}/").content.decode()
    waiver = GateWaiver.objects.get()
    assert login(owner).post(f"{url}waivers/{waiver.pk}/revoke/").status_code == 302
    live = workflow.live
    assert "waiver by CFO" in staleness(Promotion.objects.get(pk=passed.pk), live)
