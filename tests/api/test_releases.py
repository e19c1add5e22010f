"""The JSON API: reading, registering and proposing releases with a token."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from governance.api.releases import LARGEST_RELEASE
from governance.audit.models import AuditEvent
from governance.common.canonical import digest
from governance.people.models import User
from governance.releases.models import Release, Slot
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER, slots

pytestmark = pytest.mark.django_db
REGISTER = "/api/v1/workflows/support-triage/releases"
PROPOSE = "/api/v1/promotions"


def send(client: Client, path: str, body: Any) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(path, text, content_type="application/json")


def test_a_release_is_read_with_the_content_that_its_digests_name(
    make_release: Callable[..., Release], machine: Callable[..., Client]
) -> None:
    release = make_release(feedback=None)
    client = machine("releases:read")
    response = client.get(f"/api/v1/releases/{release.digest}")
    assert response.status_code == 200
    answer = response.json()
    assert digest(answer["manifest"]) == answer["digest"] == release.digest
    assert answer["components"]["feedback"] is None
    for slot in Slot.values:
        component = answer["components"][slot]
        named = answer["manifest"]["slots"][slot]
        if component is None:
            assert named is None
            continue
        whole = {"slot": slot, "content": component["content"]}
        assert digest(whole) == component["digest"] == named

    assert response["ETag"] == f'"{release.digest}"'
    assert "immutable" in response["Cache-Control"]
    assert "private" in response["Cache-Control"]
    again = client.get(
        f"/api/v1/releases/{release.digest}", headers={"If-None-Match": response["ETag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_a_release_that_is_not_there_is_404_in_json(
    make_release: Callable[..., Release], machine: Callable[..., Client]
) -> None:
    release = make_release()
    client = machine("releases:read")
    for asked in ("sha256:" + "0" * 64, release.digest.upper(), release.digest[:-1], "a%00", "x"):
        response = client.get(f"/api/v1/releases/{asked}")
        assert response.status_code == 404, asked
        assert response.json()["error"]


def test_a_token_of_another_workflow_reads_registers_and_proposes_nothing_here(
    make_release: Callable[..., Release],
    controller: User,
    machine: Callable[..., Client],
) -> None:
    release = make_release()
    create_workflow("close", "Close automation", owner=controller, actor=TESTER)
    client = machine("releases:read", "releases:write", "promotions:propose", workflow_slug="close")
    assert client.get(f"/api/v1/releases/{release.digest}").status_code == 404
    assert send(client, REGISTER, {"slots": slots(0.9)}).status_code == 403
    asked = {"release": release.digest, "rationale": "Better."}
    assert send(client, PROPOSE, asked).status_code == 404
    assert Release.objects.count() == 1
    assert not Promotion.objects.exists()


def test_registering_twice_gives_the_same_release_once(
    workflow: Workflow, machine: Callable[..., Client]
) -> None:
    client = machine("releases:write")
    body = {"title": "From CI", "slots": slots()}
    first, again = send(client, REGISTER, body), send(client, REGISTER, body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json()["created"], again.json()["created"]) == (True, False)
    assert first.json()["digest"] == again.json()["digest"]
    release = Release.objects.get()
    assert release.registered_by is None
    event = AuditEvent.objects.get(verb="release.registered")
    assert event.actor_type == "token"
    assert release.registered_by_label == event.actor_label


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"slots": {}}',
        '{"slots": []}',
        '{"slots": {"model": {"id": "a"}, "model": {"id": "b"}}}',
        '{"slots": {"model": {"temperature": NaN}}}',
        '{"slots": {"model": {"temperature": 1e400}}}',
        '{"slots": {"model": {"seed": 9007199254740993}}}',
        '{"slots": {"model": {"id": "\\ud800"}}}',
        '{"slots": {"modell": {"id": "a"}}}',
        '{"slots": {"model": "gpt"}}',
        '{"slots": {"model": {"id": "a"}}, "title": "a\\u0000b"}',
        '{"slots": {"model": {"id": "a"}}, "title": "\\ud800"}',
        '{"slots": {"model": {"id": "a"}}, "title": 7}',
        '{"slots": {"model": ' + '{"a":' * 3000 + "1" + "}" * 3000 + "}}",
    ],
)
def test_a_bad_manifest_is_refused_with_a_sentence_and_nothing_is_stored(
    workflow: Workflow, machine: Callable[..., Client], body: str
) -> None:
    response = send(machine("releases:write"), REGISTER, body)
    assert response.status_code in (400, 411, 422), response.content
    assert response.json()["error"]
    assert not Release.objects.exists()


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ('{"slots": {"model": {"id": "a", "id": "b"}}}', "twice in the object at slots.model"),
        ('{"slots": {"model": {"parameters": {"temperature": NaN}}}}',
         "NaN is no JSON number at slots.model.parameters.temperature"),
        ('{"slots": {"routing": {"rules": [{}, {"share": 1e999}]}}}',
         "Infinity is no JSON number at routing.rules[1].share"),
        ('{"slots": {"model": {"seed": 9007199254740993}}}', "write it as text at model.seed"),
        ('{"slots": {"model": {"id": "\\ud800"}}}', "half of a character at model.id"),
        ('{"slots": {"tools": {"tools": [{"name": "a"}, {"permission": "read"}]}}}',
         "tools.tools[1].name is missing"),
        ('{"slots": {"guardrails": {"confidence_threshold": "0.4"}}}',
         "guardrails.confidence_threshold must be a number from 0 to 1"),
        ('{"slots":\n {"model": }}', "at line 2, column 12"),
        ('{"slots": {"model": {"id": "a"}}, "title": "a\\u0000b"}', "title: it holds a NUL"),
    ],
)  # fmt: skip
def test_a_refusal_says_where_in_the_manifest_it_is_wrong(
    workflow: Workflow, machine: Callable[..., Client], body: str, where: str
) -> None:
    response = send(machine("releases:write"), REGISTER, body)
    assert response.status_code == 422
    assert where in response.json()["error"]


def test_a_corpus_of_100_000_documents_is_registered_in_one_request(
    workflow: Workflow, machine: Callable[..., Client]
) -> None:
    documents = [{"id": f"kb/{n:06}", "sha256": f"{n:064x}"} for n in range(100_000)]
    body = {"slots": {"retrieval": {"source": "kb", "documents": documents, "count": 100_000}}}
    text = json.dumps(body)
    assert len(text) > 8 * 2**20
    client = machine("releases:write")
    began = time.monotonic()
    first, again = send(client, REGISTER, text), send(client, REGISTER, text)
    assert (first.status_code, again.status_code) == (201, 200)
    assert time.monotonic() - began < 30
    assert Release.objects.get().digest == first.json()["digest"]


def test_a_body_beyond_the_limit_is_refused(
    workflow: Workflow, machine: Callable[..., Client]
) -> None:
    response = send(machine("releases:write"), REGISTER, " " * (LARGEST_RELEASE + 1))
    assert response.status_code == 413
    assert "32 MB" in response.json()["error"]


def test_each_call_needs_its_own_scope(
    make_release: Callable[..., Release], machine: Callable[..., Client]
) -> None:
    release = make_release()
    reader, writer = machine("releases:read"), machine("releases:write")
    assert writer.get(f"/api/v1/releases/{release.digest}").status_code == 403
    assert send(reader, REGISTER, {"slots": slots(0.9)}).status_code == 403
    asked = {"release": release.digest, "rationale": "Better."}
    for client in (reader, writer):
        assert send(client, PROPOSE, asked).status_code == 403
    for response in (
        Client().get(f"/api/v1/releases/{release.digest}"),
        send(Client(), REGISTER, "not even JSON"),
        send(Client(), PROPOSE, asked),
    ):
        assert response.status_code == 401
        assert response.json()["error"]


def test_a_proposal_without_a_confirmed_gate_policy_is_a_conflict_in_json(
    make_release: Callable[..., Release],
    adopt: Callable[[Release], Any],
    machine: Callable[..., Client],
) -> None:
    adopt(make_release())
    asked = {"release": make_release(0.2).digest, "rationale": "Fewer escalations."}
    response = send(machine("promotions:propose"), PROPOSE, asked)
    assert response.status_code == 409
    assert "gate policy" in response.json()["error"]


def test_a_token_proposes_and_its_name_stands_in_the_record(
    make_release: Callable[..., Release],
    adopt: Callable[[Release], Any],
    promote: Callable[[Release], Any],
    machine: Callable[..., Client],
) -> None:
    adopt(make_release())
    promote(make_release(0.3))  # leaves a confirmed gate policy behind
    asked = {"release": make_release(0.2).digest, "rationale": "Fewer escalations."}
    response = send(machine("promotions:propose"), PROPOSE, asked)
    assert response.status_code == 201, response.content
    promotion = Promotion.objects.get(pk=response.json()["promotion"])
    assert promotion.state == Promotion.State.EVALUATING
    assert promotion.requested_by is None
    assert promotion.requested_by_label.startswith("token machine")
    assert (
        send(machine("releases:read"), f"{PROPOSE}/{promotion.pk}/approve", {}).status_code == 404
    )


def test_wrong_methods_and_unknown_addresses_answer_in_json(
    workflow: Workflow, machine: Callable[..., Client]
) -> None:
    client = machine("releases:write")
    wrong = client.get(REGISTER)
    assert (wrong.status_code, wrong["Allow"]) == (405, "POST")
    assert wrong.json()["error"]
    for path in ("/api/v1/", "/api/v1/nothing", "/api/v2/releases"):
        response = client.get(path)
        assert response.status_code == 404
        assert response.json()["error"]
    unknown = send(client, "/api/v1/workflows/nothing/releases", {"slots": slots()})
    assert unknown.status_code == 404


def test_the_schema_names_every_path(db: None, client: Client) -> None:
    response = client.get("/api/v1/openapi.json")
    assert response.status_code == 200
    assert set(response.json()["paths"]) >= {
        "/api/v1/releases/{digest}",
        "/api/v1/workflows/{workflow}/releases",
        "/api/v1/promotions",
    }
