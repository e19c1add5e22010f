"""The pages of the other roads and the registers, without JavaScript."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import Resolver404, resolve

from governance.common.time import now, story_time
from governance.kpis.models import Kpi
from governance.people import delegations
from governance.people.models import Absence, Delegation, User
from governance.releases.models import LiveRelease, Release
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.rollouts.road_models import StandingApproval
from governance.workflows.models import Workflow
from tests.conftest import PASSWORD
from tests.dashboards.reading import text, words
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures
from tests.rollouts.conftest import work

pytestmark = pytest.mark.django_db(transaction=True)
Login = Callable[[User], Client]
DAY = timedelta(days=1)
EMERGENCY = "/workflows/support-triage/emergency/"
ENVELOPE = {
    "workflow": "support-triage", "title": "Nightly refresh", "slot": "model",
    "uses_per_week": "3", "days": "60", "share_1": "5", "minutes_1": "60", "runs_1": "50",
    "reason": "Small and repeating.",
}  # fmt: skip


@pytest.fixture
def on_call(analyst: User) -> User:
    """An analyst with the right to make emergency changes."""
    User.objects.filter(pk=analyst.pk).update(emergency_changes=True)
    return User.objects.get(pk=analyst.pk)


@pytest.fixture
def emergency(live: Release, make_release: Callable[..., Release], on_call: User) -> Promotion:
    return services.emergency_change(
        make_release(0.9), actor=on_call, incident="INC-7", reason="It leaks data.",
        authenticated_at=now(),
    )  # fmt: skip


def test_the_admin_site_of_django_is_off(admin: User, login: Login) -> None:
    assert not apps.is_installed("django.contrib.admin")
    with pytest.raises(Resolver404):
        resolve("/admin/")
    assert login(admin).get("/admin/").status_code == 404


def test_an_emergency_change_is_looked_at_then_made_and_asks_for_the_password_between(
    live: Release, make_release: Callable[..., Release], on_call: User, login: Login, cfo: User
) -> None:
    release, client = make_release(0.9), login(on_call)
    page = text(client, EMERGENCY)
    assert "Which release?" in page
    assert "CFO" in page
    page = text(client, f"{EMERGENCY}?release={release.pk}")
    assert "What changes" in page
    assert f"Make {release.name} live now" in page

    sent = {"release": release.pk, "incident": "INC-7", "reason": "It leaks data."}
    answer = client.post(f"{EMERGENCY}make-live/", sent)
    assert answer["Location"].startswith("/reauthenticate/")
    assert LiveRelease.objects.get().release == live
    client.post("/reauthenticate/", {"password": PASSWORD, "next": EMERGENCY})
    page = text(client, EMERGENCY)
    assert 'value="INC-7"' in page
    assert "It leaks data." in page
    assert release.pk in page
    assert client.post(f"{EMERGENCY}make-live/", {**sent, "incident": ""}).status_code == 422
    assert client.post(f"{EMERGENCY}make-live/", sent).status_code == 302

    assert LiveRelease.objects.get().release == release
    assert client.post(f"{EMERGENCY}make-live/", sent).status_code == 409  # live already


def test_who_has_not_the_right_reads_who_has_and_is_refused(
    live: Release, make_release: Callable[..., Release], on_call: User, owner: User,
    confirmed: Login,
) -> None:  # fmt: skip
    client = confirmed(owner)
    page = text(client, EMERGENCY)
    assert "You do not have this right" in page
    assert "Analyst" in page
    sent = {"release": make_release(0.9).pk, "incident": "INC-7", "reason": "It leaks data."}
    assert client.post(f"{EMERGENCY}make-live/", sent).status_code == 403
    assert LiveRelease.objects.get().release == live


def test_a_second_person_ratifies_on_its_own_page_and_who_made_it_does_not(
    emergency: Promotion, on_call: User, builder: User, cfo: User, confirmed: Login
) -> None:
    url = f"/promotions/{emergency.pk}/ratify/"
    for person in (on_call, builder):
        client = confirmed(person)
        assert "Ratify it" not in text(client, url)
        assert client.post(url, {"reason": "Mine."}).status_code == 403
    client = confirmed(cfo)
    assert "Emergency change by Analyst, not ratified yet" in words(client, "/")
    assert "An emergency change serves without a gate." in text(
        client, f"/promotions/{emergency.pk}/"
    )
    page = text(client, url)
    assert "Ratify it" in page
    assert "3 h 59 min left" in page
    assert "INC-7" in page
    assert client.post(url, {"reason": ""}).status_code == 422
    assert client.post(url, {"reason": "Right call."}).status_code == 302

    emergency.refresh_from_db()
    assert emergency.ratified_at is not None
    assert "Ratified by CFO" in text(client, url)
    assert "Emergency change by Analyst, ratified by CFO" in words(client, "/")
    history = words(client, f"/workflows/{emergency.workflow.slug}/")
    assert f"Emergency change: {emergency.release.name}" in history
    assert "ratified by CFO" in history
    assert f"Promoted {emergency.release.name}" not in history
    decided = words(client, f"/promotions/{emergency.pk}/")
    assert (
        decided.index("Decisions") < decided.index("Made") < decided.index("I make this emergency")
    )
    assert client.post(url, {"reason": "Again."}).status_code == 409


def test_the_owner_of_another_kpi_sees_an_emergency_while_it_waits_for_a_second_person(
    emergency: Promotion, controller: User, confirmed: Login
) -> None:
    url = f"/promotions/{emergency.pk}/ratify/"
    client = confirmed(controller)
    assert client.get(url).status_code == 404
    Workflow.objects.create(slug="close", name="Close", owner=controller, created_at=now())
    assert "INC-7" in text(client, url)
    assert client.post(url, {"reason": "Right call."})["Location"] == "/controls/"
    assert client.get(url).status_code == 404


def test_the_owner_signs_an_envelope_and_reads_it_in_words_with_each_use(
    live: Release, owner: User, builder: User, cfo: User, confirmed: Login, login: Login,
    make_release: Callable[..., Release], model: Callable[..., dict[str, Any]],
) -> None:  # fmt: skip
    client = confirmed(owner)
    for wrong in ({"days": "91"}, {"uses_per_week": "0"}, {"slot": "nothing"}, {"title": ""},
                  {"share_1": ""}, {"slot": "retrieval"}, {"reason": ""}):  # fmt: skip
        answer = client.post("/controls/standing/sign/", {**ENVELOPE, **wrong})
        assert answer.status_code == 422, wrong
    assert client.post("/controls/standing/sign/", ENVELOPE).status_code == 302
    signed = StandingApproval.objects.get()
    assert signed.pilot_steps == [{"share": 500, "minutes": 60, "runs": 50}]
    assert signed.most_documents_changed is None

    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Nightly.", standing=signed
    )
    work()
    url = f"/controls/standing/{signed.pk}/"
    page = text(client, url)
    assert "Changes Model and nothing else" in page
    assert "5 % of cases for at least 1 h and 50 runs, then every case" in page
    assert f'href="/promotions/{promotion.pk}/"' in page
    assert "1 in all, 1 of 3 in the last 7 days" in page

    executive = login(cfo)
    assert executive.post(f"{url}revoke/", {"reason": ""}).status_code == 422
    assert executive.post(f"{url}revoke/", {"reason": "Not now."}).status_code == 302
    assert executive.post(f"{url}revoke/", {"reason": "Again."}).status_code == 409
    assert "Not now." in text(client, "/controls/standing/")


def test_what_did_not_fit_an_envelope_is_listed_with_the_reason(
    live: Release, owner: User, builder: User, cfo: User, confirmed: Login,
    make_release: Callable[..., Release], model: Callable[..., dict[str, Any]],
) -> None:  # fmt: skip
    client = confirmed(owner)
    client.post("/controls/standing/sign/", ENVELOPE)
    signed = StandingApproval.objects.get()
    services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Nightly.", standing=signed
    )
    services.revoke_standing_approval(signed.pk, actor=cfo, reason="Not tonight.")
    work()
    page = text(client, f"/controls/standing/{signed.pk}/")
    assert "Did not fit" in page
    assert "The standing approval was revoked." in page


def test_an_envelope_of_somebody_who_is_not_the_kpi_owner_any_more_says_so(
    live: Release, owner: User, controller: User, workflow: Workflow, cfo: User,
    confirmed: Login, login: Login,
) -> None:  # fmt: skip
    confirmed(owner).post("/controls/standing/sign/", ENVELOPE)
    Kpi.objects.create(
        workflow=workflow, slug="k", name="Rate", owner=controller, measure="escalated",
        unit="share", is_lead=True,
    )  # fmt: skip
    page = text(login(cfo), "/controls/standing/")
    assert "Does not count" in page
    assert "Controller signs anew" in page


def test_the_register_shows_who_decides_and_the_coming_gap(
    owner: User, controller: User, cfo: User, workflow: Workflow, confirmed: Login, login: Login
) -> None:
    client = confirmed(owner)
    away = {"first": "2030-12-12", "last": "2030-12-19"}
    near = (now() + 5 * DAY).date()
    sent = {"first": near.isoformat(), "last": (near + 2 * DAY).isoformat(), "note": "Conference"}
    assert client.post("/controls/absences/note/", {"first": "x", "last": ""}).status_code == 422
    assert client.post("/controls/absences/note/", sent).status_code == 302
    assert client.post("/controls/absences/note/", away).status_code == 302
    page = text(login(cfo), "/controls/delegations/")
    assert "nobody decides for Head of Support" in page
    assert "12–19 Dec 2030" in page

    given = {**sent, "to": controller.pk, "reason": "Conference."}
    for wrong in ({"to": ""}, {"to": owner.pk}, {"last": "2031-01-01"}, {"reason": ""}):
        answer = client.post("/controls/delegations/give/", {**given, **wrong})
        assert answer.status_code == 422, wrong
    assert client.post("/controls/delegations/give/", given).status_code == 302
    assert client.post("/controls/delegations/give/", given).status_code == 409
    page = text(client, "/controls/delegations/")
    assert "nobody decides" not in page
    assert "No gap in the next 90 days" in page

    held = Delegation.objects.get()
    url = f"/controls/delegations/{held.pk}/revoke/"
    assert client.post(url, {"reason": ""}).status_code == 422
    assert client.post(url, {"reason": "Not going."}).status_code == 302
    assert client.post(url, {"reason": "Again."}).status_code == 409
    for absence in Absence.objects.all():
        assert client.post(f"/controls/absences/{absence.pk}/cancel/").status_code == 302
    assert "Nobody is noted as away" in text(client, "/controls/delegations/")


def test_who_delegates_to_a_builder_reads_what_a_builder_cannot_approve(
    owner: User, builder: User, controller: User, cfo: User, workflow: Workflow,
    confirmed: Login, login: Login,
) -> None:  # fmt: skip
    client = confirmed(owner)
    form = text(client, "/controls/delegations/")
    assert f"{builder}: makes changes, decides on those of others only" in form
    assert f"{controller}: makes changes" not in form
    day = (now() + 5 * DAY).date().isoformat()
    given = {"first": day, "last": day, "to": builder.pk, "reason": "Conference."}
    answer = client.post("/controls/delegations/give/", given, follow=True)
    cannot = f"{builder} makes releases, and cannot approve a change that they helped to make."
    assert f"{cannot} You, or nobody, decide on those." in answer.content.decode()
    assert cannot in text(login(cfo), "/controls/delegations/")
    client.post(f"/controls/delegations/{Delegation.objects.get().pk}/revoke/", {"reason": "No."})
    client.post("/controls/delegations/give/", {**given, "to": controller.pk})
    assert "cannot approve a change" not in text(client, "/controls/delegations/")


def test_a_delegate_finds_the_decision_and_takes_it(
    propose: Callable[..., Promotion], owner: User, controller: User, confirmed: Login
) -> None:
    promotion = propose(90)
    client = confirmed(controller)
    url = f"/promotions/{promotion.pk}/"
    assert client.get(url).status_code == 404
    delegations.delegate(
        controller, actor=owner, starts_at=now(), ends_at=now() + DAY, reason="Ill.",
        authenticated_at=now(),
    )  # fmt: skip
    assert client.get(url).status_code == 200
    answer = client.post(f"{url}approve/", {"review_round": 1, "reason": "The evidence is clear."})
    assert answer.status_code == 302
    assert LiveRelease.objects.get().release_id == promotion.release_id


def test_the_overview_says_what_is_in_force_in_few_queries(
    emergency: Promotion, owner: User, cfo: User, builder: User, workflow: Workflow, login: Login
) -> None:
    services.set_freeze(
        actor=cfo, name="Close", starts_at=now(), ends_at=now() + DAY, reason="The books.", months=6
    )
    services.sign_standing_approval(
        workflow, actor=owner, title="Refresh", slot="model", uses_per_week=2, days=30,
        reason="Small.", authenticated_at=now(),
    )  # fmt: skip
    delegations.note_absence(owner, actor=owner, starts_at=now(), ends_at=now() + 3 * DAY)
    services.switch_off(workflow, actor=builder, reason="It shouts at people.")
    client = login(cfo)
    page = text(client, "/controls/")
    for said in (
        "INC-7", "Close", "Refresh", "nobody decides for Head of Support", "is switched off",
        "It shouts at people.", "waiting to be ratified",
    ):  # fmt: skip
        assert said in page, said
    for url in (
        "/controls/",
        "/controls/freezes/",
        "/controls/standing/",
        "/controls/delegations/",
    ):
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        assert len(queries) <= 26, (url, len(queries))


def test_an_emergency_that_nobody_ratified_says_that_it_was_reverted(
    emergency: Promotion, cfo: User, login: Login
) -> None:
    with story_time(now() + timedelta(hours=4, seconds=1)):
        assert services.revert_unratified(emergency.pk)
    assert "It was reverted" in text(login(cfo), f"/promotions/{emergency.pk}/ratify/")


def test_who_sees_no_workflow_is_not_told_that_there_is_nothing(
    live: Release, cfo: User, owner: User, outsider: User, login: Login
) -> None:
    assert "Nothing is frozen" in text(login(owner), "/controls/freezes/")  # true for them
    services.set_freeze(
        actor=cfo, name="Close", starts_at=now() + DAY, ends_at=now() + 2 * DAY, reason="The books."
    )
    client = login(outsider)
    for url in ("/", "/controls/", "/controls/freezes/", "/audit/checkpoints/"):
        page = text(client, url)
        assert "that you may see" in page, url
        for untrue in ("Nothing is frozen", "No checkpoint yet", "no release had been adopted"):
            assert untrue not in page, (url, untrue)
