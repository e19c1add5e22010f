"""The client against the real server: promotion, rollback, content, bundle, receipts."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from countersign import Client, ContentError, NoAnswerError, SwitchedOffError
from django.core.management import CommandError, call_command
from pytest_django.live_server_helper import LiveServer

from governance.common.time import now
from governance.people.models import ApiToken, User
from governance.people.services import create_token
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.releases.models import Release
from governance.rollouts import services
from governance.workflows.models import Workflow
from tests.api.conftest import adopt, promote  # noqa: F401 - fixtures
from tests.clients.server import Scripted, flag
from tests.conftest import TESTER

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Client]


@pytest.fixture
def live(make_release: Callable[..., Release], adopt: Callable[[Release], Any]) -> Release:  # noqa: F811
    release = make_release(feedback=None)
    adopt(release)
    return release


@pytest.fixture
def client_of(live_server: LiveServer, make_client: Make) -> Make:
    _, token = create_token("app", scopes=["releases:read", "receipts:write"], actor=TESTER)

    def make(**options: Any) -> Client:
        return make_client(live_server.url, token, **{"timeout": 10.0, **options})

    return make


def test_a_promotion_and_a_rollback_are_seen_by_the_next_case(
    live: Release, client_of: Make, make_release: Callable[..., Release],
    promote: Callable[[Release], Any], analyst: User, workflow: Workflow,  # noqa: F811
) -> None:  # fmt: skip
    client = client_of()
    first = client.release_for("ticket-1")
    assert (first.digest, first.seq, first.stage, first.cached) == (live.pk, 1, "stable", False)
    better = make_release(0.2)
    promote(better)
    assert client.release_for("ticket-1").digest == better.pk
    services.roll_back(workflow, actor=analyst, reason="Worse.")
    back = client.release_for("ticket-1")
    assert (back.digest, back.seq, back.stage) == (live.pk, 3, "rolled_back")


def test_the_background_brings_a_change_without_being_asked(
    live: Release, client_of: Make, make_release: Callable[..., Release],
    promote: Callable[[Release], Any],  # noqa: F811
) -> None:  # fmt: skip
    client = client_of(ask="background", refresh_seconds=3600)
    assert client.release_for("ticket-1").digest == live.pk
    better = make_release(0.2)
    promote(better)
    assert client.refresh()
    assert client.release_for("ticket-1").digest == better.pk


def test_content_is_verified_and_kept_for_when_the_server_is_away(
    live: Release, client_of: Make, tmp_path: Path, server: Scripted, make_client: Make
) -> None:
    client = client_of()
    answer = client.release_for()
    release = client.content(answer)
    assert release.slots["guardrails"] == {
        "escalation_threshold": 0.35, "always_escalate": ["fraud"]
    }  # fmt: skip
    assert release.slots["feedback"] is None
    assert release.slot_digests == live.manifest["slots"]
    away = make_client("http://127.0.0.1:9")
    assert away.content(live.pk) == release
    (kept,) = (tmp_path / "cache" / "support-triage" / "releases").glob("*.json")
    kept.write_text(kept.read_text().replace("0.35", "0.95"))
    with pytest.raises(Exception, match="did not answer"):
        make_client("http://127.0.0.1:9").content(live.pk)
    assert client_of().content(live.pk) == release  # fetched again


def test_content_that_is_not_what_its_digest_names_is_never_used(
    live: Release, client_of: Make, server: Scripted, make_client: Make
) -> None:
    release = client_of().content(live.pk)
    forged = {
        "manifest": live.manifest,
        "components": {
            slot: None if content is None else {"content": dict(content)}
            for slot, content in release.slots.items()
        },
    }
    forged["components"]["guardrails"]["content"]["escalation_threshold"] = 0.95
    other = make_client(server.url, cache_dir=None)
    server.says(forged)
    with pytest.raises(ContentError, match="guardrails"):
        other.content(live.pk)
    server.says({**forged, "manifest": {**live.manifest, "v": "other"}})
    with pytest.raises(ContentError, match="manifest"):
        other.content(live.pk)
    with pytest.raises(ContentError):
        other.content("../../etc/passwd")


def test_the_kill_switch_reaches_the_next_case(
    live: Release, client_of: Make, owner: User, workflow: Workflow
) -> None:
    client = client_of()
    assert not client.release_for("x").is_off
    services.switch_off(workflow, actor=owner, reason="Stop.")
    off = client.release_for("x")
    assert (off.is_off, off.digest, off.reason) == (True, "", "DISABLED")
    with pytest.raises(SwitchedOffError):
        client.content(off)
    services.switch_on(workflow, actor=owner, reason="Go.", authenticated_at=now())
    assert client.release_for("x").digest == live.pk


def test_a_pin_reaches_a_client_that_asks_in_the_background(
    live: Release, client_of: Make, owner: User, workflow: Workflow,
    make_release: Callable[..., Release], promote: Callable[[Release], Any],  # noqa: F811
) -> None:  # fmt: skip
    client = client_of(ask="background", refresh_seconds=3600)
    client.release_for("vip")
    promote(make_release(0.2))
    services.pin_case(workflow, actor=owner, targeting_key="vip", release=live, reason="Sure.")
    client.refresh()
    assert client.release_for("vip").digest == live.pk
    assert client.release_for("vip").reason == "TARGETING_MATCH"
    assert client.release_for("other").digest != live.pk


def test_receipts_reach_the_database_under_the_release_they_followed(
    live: Release, client_of: Make
) -> None:
    partitions.forget()
    partitions.ensure_partitions([now().date()])
    client = client_of()
    answer = client.release_for("ticket-1")
    client.receipts.add(answer=answer, run_id="run-1", case_id="ticket-1", escalated=False)
    assert client.receipts.flush(20)
    stored = Receipt.objects.get(run_id="run-1")
    assert (stored.release_digest, stored.standing) == (live.pk, "authorised")
    partitions.forget()


def export(workflow: str = "support-triage", **options: Any) -> str:
    out = StringIO()
    call_command("export_lkg", workflow, stdout=out, **options)
    return out.getvalue()


def test_a_bundle_starts_a_machine_that_never_saw_the_server(
    live: Release, make_release: Callable[..., Release], promote: Callable[[Release], Any],  # noqa: F811
    make_client: Make, tmp_path: Path,
) -> None:  # fmt: skip
    better = make_release(0.2)
    promote(better)
    path = tmp_path / "bundle.json"
    call_command("export_lkg", "support-triage", out=str(path))
    document = json.loads(path.read_text())
    assert set(document["releases"]) == {better.pk, live.pk}  # what serves, and the way back
    assert document["last_known_good"] == live.pk
    client = make_client("http://127.0.0.1:9", bundle=path)
    answer = client.release_for("ticket-1")
    assert (answer.digest, answer.seq, answer.cached) == (better.pk, 2, True)
    assert 0 <= answer.age < 60
    assert client.content(answer).slots["guardrails"] == {
        "escalation_threshold": 0.2, "always_escalate": ["fraud"]
    }  # fmt: skip
    assert client.content(live.pk).digest == live.pk


def test_a_bundle_that_is_older_than_the_cache_or_damaged_is_not_used(
    live: Release, make_client: Make, server: Scripted, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = tmp_path / "bundle.json"
    path.write_text(export())
    newer = "sha256:" + "d" * 64
    server.says(flag(newer, 9))
    make_client(server.url).release_for("x")
    server.says(b"", 503)
    assert make_client(server.url, bundle=path).release_for("x").digest == newer
    for damaged in (path.read_text().replace("0.35", "0.95"), "{}", "[", ""):
        path.write_text(damaged)
        with pytest.raises(NoAnswerError):
            make_client("http://127.0.0.1:9", cache_dir=None, bundle=path).release_for("x")
    assert caplog.text.count("Ignored the bundle") == 4


def test_a_bundle_of_a_workflow_that_is_switched_off_runs_nothing(
    live: Release, workflow: Workflow, owner: User, make_client: Make, tmp_path: Path
) -> None:
    services.switch_off(workflow, actor=owner, reason="Stop.")
    path = tmp_path / "bundle.json"
    path.write_text(export())
    answer = make_client("http://127.0.0.1:9", bundle=path).release_for("x")
    assert (answer.is_off, answer.digest, answer.seq) == (True, "", 2)


def test_a_bundle_needs_something_live(workflow: Workflow) -> None:
    with pytest.raises(CommandError, match="Nothing is live"):
        export()
    with pytest.raises(CommandError, match="no workflow"):
        export("unknown")


def test_a_revoked_token_leaves_the_last_good_answer_and_says_so(
    live: Release, client_of: Make
) -> None:
    client = client_of()
    client.release_for("x")
    ApiToken.objects.update(revoked_at=now())
    kept = client.release_for("x")
    assert (kept.digest, kept.cached) == (live.pk, True)
    assert "revoked" in kept.note
