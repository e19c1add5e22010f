"""The commands of the server's shell: tokens, releases, rollback."""

from __future__ import annotations

import getpass
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from governance.audit.models import AuditEvent
from governance.people.models import ApiToken
from governance.releases.models import LiveRelease, Release
from governance.rollouts.recovery_models import Convergence
from governance.workflows.models import Workflow
from tests.conftest import slots

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[Any], str]:
    def write(content: Any) -> str:
        file = tmp_path / "slots.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    return write


def test_a_token_is_printed_once_and_works(workflow: Workflow) -> None:
    secret = run(
        "create_token", "router", "--scope", "releases:read", "--scope", "receipts:write",
        "--workflow", "support-triage", "--days", "30",
    ).strip()  # fmt: skip
    token = ApiToken.objects.get(name="router")
    assert secret.startswith("cs_")
    assert secret not in str(token.__dict__)
    assert token.token_hash == ApiToken.hash_of(secret)
    assert set(token.scopes) == {"releases:read", "receipts:write"}
    assert token.expires_at is not None
    answer = Client(headers={"X-API-Key": secret}).post(
        "/ofrep/v1/evaluate/flags", "{}", content_type="application/json"
    )
    assert answer.json() == {"flags": []}
    event = AuditEvent.objects.get(verb="token.created")
    assert event.actor_label == f"operator:{getpass.getuser()}"
    assert secret not in event.body


@pytest.mark.parametrize(
    "words",
    [
        ["create_token", "x"],
        ["create_token", "x", "--scope", "everything"],
        ["create_token", "x", "--scope", "releases:read", "--workflow", "nothing"],
        ["create_token", "x", "--scope", "releases:read", "--days", "0"],
        ["register_release", "nothing", "slots.json"],
        ["register_release", "support-triage", "/no/such/file.json"],
        ["roll_back", "nothing", "--reason", "why"],
        ["roll_back", "support-triage", "--reason", "why"],
        ["roll_back", "support-triage"],
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    workflow: Workflow, words: list[str]
) -> None:
    before = AuditEvent.objects.count()
    with pytest.raises(CommandError) as refusal:
        run(*words)
    assert str(refusal.value)
    assert AuditEvent.objects.count() == before


def test_a_name_in_use_is_refused(workflow: Workflow) -> None:
    run("create_token", "router", "--scope", "releases:read")
    with pytest.raises(CommandError, match="in use"):
        run("create_token", "router", "--scope", "releases:read")


def test_a_release_is_registered_once_from_a_file(
    workflow: Workflow, manifest: Callable[[Any], str]
) -> None:
    file = manifest(slots())
    first = run("register_release", "support-triage", file, "--title", "From CI")
    again = run("register_release", "support-triage", file)
    release = Release.objects.get()
    assert release.digest in first
    assert release.digest in again
    assert "already" in again
    assert release.title == "From CI"
    assert release.registered_by_label == f"operator:{getpass.getuser()}"


def test_the_file_that_a_releases_page_gives_is_taken_with_its_title(
    workflow: Workflow, manifest: Callable[[Any], str]
) -> None:
    run("register_release", "support-triage", manifest({"title": "Given", "slots": slots()}))
    assert Release.objects.get().title == "Given"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not valid JSON"),
        ("[]", "one JSON object"),
        ('{"model": {"id": "a"}, "model": {"id": "b"}}', "twice"),
        ('{"model": {"id": "a", "id": "b"}}', "twice"),
        ('{"modell": {"id": "a"}}', "Unknown slot"),
        ('{"model": {}}', "with content"),
        ('{"model": {"temperature": NaN}}', "NaN"),
        ("{}", "at least one slot"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_reason(
    workflow: Workflow, manifest: Callable[[Any], str], content: str, said: str
) -> None:
    with pytest.raises(CommandError, match=said):
        run("register_release", "support-triage", manifest(content))
    assert not Release.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_roll_back_from_the_shell_returns_to_the_last_known_good_as_an_operator(
    make_release: Callable[..., Release],
    adopt: Callable[[Release], Any],
    promote: Callable[[Release], Any],
) -> None:
    good, bad = make_release(), make_release(0.1)
    adopt(good)
    promote(bad)
    said = run("roll_back", "support-triage", "--reason", "Precaution")
    assert "live again" in said
    assert re.search(r"Served \d+\.\d s after the command\. .* /rollbacks/\d+/", said)
    assert LiveRelease.objects.get().release == good
    event = AuditEvent.objects.get(verb="rollback.done")
    assert event.actor_label == f"operator:{getpass.getuser()}"
    assert event.reason == "Precaution"
    kept = Convergence.objects.get()
    assert kept.clicked_at < event.occurred_at  # the command's start, not the transaction's
    assert kept.served_at > event.occurred_at
    with pytest.raises(CommandError, match="a moment ago"):  # two who see the same trouble
        run("roll_back", "support-triage", "--reason", "Precaution")
