"""The auditor's pages: population and sample, one event, files, signatures."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.db import connection, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from governance import audit
from governance.audit import Actor, keys, sinks
from governance.audit.chain import event_hash
from governance.audit.checkpoints import make
from governance.audit.models import AuditEvent
from governance.common.time import now
from governance.people.models import Signature, User
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.rollouts.services import roll_back
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER
from tests.dashboards.sessions import approve, propose  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]


@pytest.fixture
def moved(
    workflow: Workflow, propose: Callable[..., Promotion], approve: Callable[..., Promotion],
    owner: User,
) -> Workflow:  # fmt: skip
    approve(propose(), owner)
    roll_back(workflow, actor=owner, reason="@SUM(1)")
    return workflow


@pytest.fixture
def other(controller: User) -> Workflow:
    return create_workflow("close", "Close automation", owner=controller, actor=TESTER)


def table(response: Any) -> list[dict[str, str]]:
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def past_the_triggers(statement: str, *values: str | int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement, values)
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("SET LOCAL ROLE cs_app")


def test_the_population_says_that_nothing_is_missing_and_the_file_holds_the_same(
    moved: Workflow, auditor: User, login: Login
) -> None:
    client = login(auditor)
    page = text_of(client.get("/audit/population/"))
    assert "No change is missing" in page
    assert "3 changes, numbers 1 to 3 without a gap" in page
    rows = table(client.get("/audit/population/population.csv"))
    assert [row["cause"] for row in rows] == ["adopt", "promotion", "rollback"]
    assert rows[2]["reason"] == "'@SUM(1)"
    assert "sample_key" not in rows[0]


def test_the_population_tells_a_step_back_from_what_was_signed_at_that_moment(
    moved: Workflow, owner: User, auditor: User, login: Login
) -> None:
    services.switch_off(moved, actor=owner, reason="To be sure.")
    services.switch_on(moved, actor=owner, reason="It is fine.", authenticated_at=now())
    page = text_of(login(auditor).get("/audit/population/"))
    assert page.count("a step back, no approval needed") == 2  # the rollback and the switch
    assert page.count("signed at that moment") == 1
    assert "signed beforehand" not in page


def test_the_same_number_draws_the_same_rows_on_the_page_and_in_the_file(
    moved: Workflow, auditor: User, login: Login
) -> None:
    client = login(auditor)
    query = "from=2026-01-01&to=9998-12-31&size=2&number=7"
    first = client.get(f"/audit/population/?{query}").context["sample"]
    again = client.get(f"/audit/population/?{query}").context["sample"]
    assert [m.key for m in first.members] == [m.key for m in again.members]
    assert len(first.members) == 2
    assert first.seed == "countersign.sample.v1|2026-01-01|9998-12-31|*|7"
    marked = table(client.get(f"/audit/population/population.csv?{query}"))
    drawn = sorted((row for row in marked if row["sample_rank"]), key=lambda r: r["sample_rank"])
    assert [int(row["seq"]) for row in drawn] == [m.key[1] for m in first.members]
    assert all(len(row["sample_key"]) == 64 for row in marked)


def test_a_change_that_vanished_is_said_loudly(
    moved: Workflow, auditor: User, login: Login
) -> None:
    past_the_triggers("DELETE FROM governance_livechange WHERE seq = 2")
    page = text_of(login(auditor).get("/audit/population/"))
    assert "The history does not hold: do not sample from this list" in page
    assert "change 2 is missing" in page
    assert 'role="alert"' in page


def test_each_person_reads_only_what_is_theirs(
    moved: Workflow, other: Workflow, owner: User, controller: User, outsider: User,
    auditor: User, login: Login,
) -> None:  # fmt: skip
    assert "Support triage #1" in text_of(login(owner).get("/audit/population/"))
    theirs = text_of(login(controller).get("/audit/population/"))
    assert "Close automation" in theirs
    assert "Support triage" not in theirs
    assert not table(
        login(controller).get("/audit/population/population.csv?workflow=" + moved.slug)
    )
    nothing = text_of(login(outsider).get("/audit/population/"))
    assert "There is no workflow here that you may see" in nothing
    assert not table(login(outsider).get("/audit/events.csv"))
    assert {row["workflow"] for row in table(login(owner).get("/audit/events.csv"))} == {moved.slug}
    event = AuditEvent.objects.filter(workflow=moved.slug)[0]
    assert login(controller).get(f"/audit/{event.pk}/").status_code == 404
    assert login(auditor).get(f"/audit/{event.pk}/").status_code == 200
    signature = Signature.objects.all()[0]
    assert login(controller).get(f"/signatures/{signature.pk}/").status_code == 404
    assert login(owner).get(f"/signatures/{signature.pk}/").status_code == 200


@pytest.mark.parametrize(
    "query", ["from=x&to=%00", "from=2026-12-31&to=2026-01-01", "size=-1&number=x", "workflow=%00"]
)
def test_nonsense_in_the_query_string_is_ignored(
    moved: Workflow, auditor: User, login: Login, query: str
) -> None:
    client = login(auditor)
    assert client.get(f"/audit/population/?{query}").status_code == 200
    assert client.get(f"/audit/population/population.csv?{query}").status_code == 200


def test_the_file_of_events_holds_what_the_filters_ask_for_and_the_bodies_as_hashed(
    moved: Workflow, auditor: User, login: Login
) -> None:
    rows = table(login(auditor).get("/audit/events.csv?verb=rollback.done"))
    (row,) = rows
    event = AuditEvent.objects.get(verb="rollback.done")
    assert row["body"] == event.body
    assert event_hash(row["body"]) == row["hash"]
    assert row["reason"] == "'@SUM(1)"
    everything = table(login(auditor).get("/audit/events.csv"))
    numbers = [int(row["seq"]) for row in everything]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == AuditEvent.objects.count()


def test_an_event_shows_its_body_and_that_it_is_what_was_hashed(
    moved: Workflow, auditor: User, login: Login
) -> None:
    client = login(auditor)
    event = AuditEvent.objects.get(verb="promotion.approved")
    page = text_of(client.get(f"/audit/{event.pk}/"))
    assert "This event is what was hashed, and it links to the one before" in page
    assert f"event {event.pk + 1} names the hash of this one" in page
    assert event.hash in page
    signature = Signature.objects.get(approval__promotion_id=event.object_id)
    assert f"/signatures/{signature.pk}/" in page

    past_the_triggers("UPDATE governance_auditevent SET reason = 'x' WHERE seq = %s", event.pk)
    broken = text_of(client.get(f"/audit/{event.pk}/"))
    assert "This event does not hold" in broken
    assert f"The column reason of event {event.pk} differs from its body." in broken
    assert client.get("/audit/999999999/").status_code == 404


def test_an_unreadable_body_does_not_break_the_page(
    workflow: Workflow, auditor: User, login: Login
) -> None:
    with audit.atomic():
        audit.record("demo.seeded", actor=Actor.system("tests"), reason="<svg onload=alert(1)>")
    event = AuditEvent.objects.order_by("-seq")[0]
    client = login(auditor)
    event = AuditEvent.objects.get(verb="demo.seeded")
    assert "&lt;svg onload=alert(1)&gt;" in text_of(client.get(f"/audit/{event.pk}/"))
    past_the_triggers("UPDATE governance_auditevent SET body = '{' WHERE seq = %s", event.pk)
    assert "This event does not hold" in text_of(client.get(f"/audit/{event.pk}/"))


def test_a_signature_shows_who_why_how_and_its_digest_computed_again(
    moved: Workflow, auditor: User, login: Login
) -> None:
    client = login(auditor)
    signature = Signature.objects.get(meaning="kpi_owner")
    page = text_of(client.get(f"/signatures/{signature.pk}/"))
    assert "I answer for this KPI" in page
    assert "Head of Support (head-of-support)" in page
    assert "The digest fits the manifest" in page
    assert "approved the promotion" in page  # its audit event
    promotion = Promotion.objects.get(approvals__signature=signature)
    assert f"/releases/{promotion.release_id}/" in page
    file = client.get(f"/signatures/{signature.pk}/manifest.json")
    assert file.content.decode() == signature.manifest_text

    past_the_triggers(
        "UPDATE governance_signature SET manifest_text ="
        " replace(manifest_text, 'KPI owner', 'CFO') WHERE digest = %s",
        signature.pk,
    )
    assert "The digest does not fit the manifest" in text_of(
        client.get(f"/signatures/{signature.pk}/")
    )


def test_a_pack_is_made_at_the_push_of_a_button_and_its_hash_kept(
    moved: Workflow, auditor: User, owner: User, controller: User, outsider: User, login: Login
) -> None:
    promotion = Promotion.objects.get(state=Promotion.State.ROLLED_BACK)
    url = f"/promotions/{promotion.pk}/evidence/"
    client = login(auditor)
    assert "No pack was made of it" in text_of(client.get(url))
    answer = client.post(f"{url}make/")
    data = answer.getvalue()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert answer["X-Content-SHA256"] == digest
    assert f"evidence-promotion-{promotion.pk}.zip" in answer["Content-Disposition"]
    names = ZipFile(io.BytesIO(data)).namelist()
    assert {"README.txt", "verify.py", "manifest.json", "audit/events.jsonl"} <= set(names)
    event = AuditEvent.objects.get(verb="evidence.packed")
    assert event.object_digest == digest
    assert event.actor_id == str(auditor.pk)
    assert digest in text_of(client.get(url))

    assert login(owner).post(f"{url}make/").getvalue() == data  # the same pack, the same bytes
    for stranger in (controller, outsider):
        assert login(stranger).get(url).status_code == 404
        assert login(stranger).post(f"{url}make/").status_code == 404
    assert client.get(f"{url}make/").status_code == 405


def test_a_period_is_packed_for_what_the_person_may_see(
    moved: Workflow, other: Workflow, auditor: User, controller: User, outsider: User, login: Login
) -> None:
    first = AuditEvent.objects.order_by("seq")[0].occurred_at.year
    asked = {"from": f"{first}-01-01", "to": f"{first}-12-31"}
    page = text_of(login(auditor).get("/audit/evidence/", asked))
    assert "3 changes" in page

    def packed(user: User) -> tuple[dict[str, Any], set[str]]:
        data = login(user).post("/audit/evidence/make/", asked).getvalue()
        pack = ZipFile(io.BytesIO(data))
        events = [json.loads(line)["body"] for line in pack.read("audit/events.jsonl").splitlines()]
        subject: dict[str, Any] = json.loads(pack.read("manifest.json"))["subject"]
        return subject, {json.loads(body)["workflow"] for body in events}

    subject, workflows = packed(auditor)
    assert subject["every_event"] is True
    assert workflows == {"", moved.slug, other.slug}
    subject, workflows = packed(controller)
    assert (subject["workflows"], subject["every_event"]) == ([other.slug], False)
    assert workflows == {other.slug}
    assert login(outsider).post("/audit/evidence/make/", asked).status_code == 404
    strange = {**asked, "workflow": moved.slug}
    assert login(controller).post("/audit/evidence/make/", strange).status_code == 404
    long = {"from": "2020-01-01", "to": "2026-12-31"}
    refused = login(auditor).post("/audit/evidence/make/", long)
    assert refused.status_code == 422
    assert "use manage.py evidence_pack for more" in refused.content.decode()


@pytest.fixture
def key(tmp_path: Path, settings: Any) -> Path:
    """A key of its own, and a folder for what leaves the database."""
    settings.AUDIT_KEY_FILE = str(tmp_path / "key.pem")
    settings.AUDIT_SINK_DIR = str(tmp_path / "sink")
    keys.create_key(keys.key_file())
    return keys.key_file()


def test_checkpoints_are_listed_with_their_signature_and_where_they_went(
    moved: Workflow, auditor: User, outsider: User, login: Login, key: Path, tmp_path: Path
) -> None:
    client = login(auditor)
    assert "No checkpoint yet" in text_of(client.get("/audit/checkpoints/"))
    assert make() is not None
    with audit.atomic():
        audit.record("demo.seeded", actor=TESTER)
    second = make()
    assert second is not None
    assert "waiting" in text_of(client.get("/audit/checkpoints/"))
    sinks.deliver_due()
    page = text_of(client.get("/audit/checkpoints/"))
    assert page.count("Verified") == 2
    assert keys.key_id(keys.signing_key().public_key()) in page
    file = client.get("/audit/checkpoints/2/checkpoint.json").content
    assert file == (tmp_path / "sink" / "checkpoint-00000002.json").read_bytes()
    assert "None that you may see" in text_of(login(outsider).get("/audit/checkpoints/"))
    assert login(outsider).get("/audit/checkpoints/2/checkpoint.json").status_code == 404
    assert "signs events 1 to" in text_of(client.get("/audit/"))

    past_the_triggers("UPDATE governance_checkpoint SET root = digest WHERE number = 2")
    page = text_of(client.get("/audit/checkpoints/"))
    assert "Its columns differ from what was signed." in page
    past_the_triggers(
        "UPDATE governance_checkpoint SET text = replace(text, 'made_at\":\"2', 'made_at\":\"3')"
        " WHERE number = 1"
    )
    assert "It is not what its digest says." in text_of(client.get("/audit/checkpoints/"))
    key.unlink()
    keys.create_key(key)
    past_the_triggers("UPDATE governance_checkpoint SET root = %s WHERE number = 2", second.root)
    assert "Other key" in text_of(client.get("/audit/checkpoints/"))


def test_an_event_says_which_checkpoint_proves_it_and_when_it_does_not(
    moved: Workflow, auditor: User, login: Login, key: Path
) -> None:
    client = login(auditor)
    event = AuditEvent.objects.get(verb="promotion.approved")
    url = f"/audit/{event.pk}/"
    assert "no checkpoint covers this event yet" in text_of(client.get(url))
    assert make() is not None
    assert "the path of" in text_of(client.get(url))
    assert "was computed again" in text_of(client.get(url))
    other = "sha256:" + "0" * 64
    past_the_triggers("UPDATE governance_auditevent SET hash = %s WHERE seq = %s", other, event.pk)
    assert "an event was changed after it was signed" in text_of(client.get(url))
    past_the_triggers("DELETE FROM governance_auditevent WHERE seq = %s", event.pk + 1)
    assert "The proof cannot be made" in text_of(client.get(url))


def test_the_pages_cost_the_same_queries_however_much_there_is(
    moved: Workflow, auditor: User, login: Login,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:  # fmt: skip
    client = login(auditor)
    client.get("/audit/")
    with django_assert_max_num_queries(18):
        client.get("/audit/population/?size=2&number=7")
    with django_assert_max_num_queries(14):
        client.get(f"/audit/{AuditEvent.objects.order_by('-seq')[0].pk}/")
