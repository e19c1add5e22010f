"""Somebody changes the demo application behind Countersign's back, and it is found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from opentelemetry.sdk.trace import TracerProvider

from governance.common.time import now
from governance.demo.support import telemetry
from governance.demo.support.library import CHOICE, open_library
from governance.demo.support.release_source import ReleaseSource
from governance.demo.support.releases import BY_KEY
from governance.demo.support.tampering import FILE, Tampering
from governance.demo.support.traffic import Arrival, Mailbox
from governance.people.models import User
from governance.people.services import create_token
from governance.receipts.models import Receipt
from governance.releases.models import Release, Slot
from governance.releases.services import register_release
from governance.rollouts import services as rollouts
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.rollouts.conftest import work

LIBRARY = open_library()
WITHIN = 10  # seconds from the first dishonest run to the open exception

# One setting of each slot that the router goes on running with.
CHANGES: dict[str, str] = {
    "prompt_policy": 'tone="curt"',
    "model": "neighbours=3",
    "tools": 'refund_limit="500.00"',
    "retrieval": 'access=["everything"]',
    "guardrails": "confidence_threshold=0.2",
    "routing": 'fallback_queue="nobody"',
    "feedback": 'memory="everything, for ever"',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of an installation with the demo in it."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    (tmp_path / CHOICE).write_text('{"messages": "messages.csv"}')
    return tmp_path


@pytest.fixture
def live(workflow: Workflow, builder: User, owner: User) -> Release:
    release, _ = register_release(
        workflow, BY_KEY["careful"].slots(LIBRARY), title="Careful", actor=builder
    )
    rollouts.adopt_as_found(release, actor=owner, reason="It runs.", authenticated_at=now())
    return release


class Application:
    """The demo's application, one mail at a time."""

    def __init__(self, url: str, secret: str) -> None:
        self.source = ReleaseSource(url, secret)
        self._provider: TracerProvider = telemetry.provider_for(url, secret)
        self._mailbox = Mailbox(LIBRARY)
        self._random = np.random.default_rng(5)
        self._answered = 0

    def answer(self, mails: int = 1) -> None:
        tracer = self._provider.get_tracer("tests")
        for message in self._mailbox.draw(self._random, mails, 11.0):
            self._answered += 1
            moment = datetime.now(UTC)
            arrival = Arrival(moment, f"kw-1.{self._answered}", message)
            running = self.source.current(arrival.case_id)
            assert running is not None
            telemetry.answer(tracer, running, arrival, moment)
        assert self._provider.force_flush()

    def close(self) -> None:
        self._provider.shutdown()


@pytest.fixture
def application(
    transactional_db: None, live_server: Any, live: Release, folder: Path
) -> Iterator[Application]:
    scopes = ["releases:read", "receipts:write"]
    _, secret = create_token("router", scopes=scopes, actor=TESTER, workflow_slug="support-triage")
    running = Application(live_server.url, secret)
    yield running
    running.close()


def undeclared() -> list[ExceptionCase]:
    return list(ExceptionCase.objects.filter(kind=ExceptionCase.Kind.UNDECLARED).order_by("pk"))


@pytest.mark.parametrize("slot", Slot.values)
def test_a_change_behind_the_releases_back_names_its_slot_and_the_first_case(
    application: Application, live: Release, folder: Path, slot: str
) -> None:
    application.answer(3)
    work()
    assert undeclared() == []

    call_command("demo_tamper", "--set", f"{slot}.{CHANGES[slot]}")
    began = time.monotonic()
    application.answer(2)
    work()
    assert time.monotonic() - began < WITHIN

    (case,) = undeclared()
    assert Slot(slot).label in case.title
    assert live.name in case.title
    assert case.release_digest == live.pk
    dishonest = Receipt.objects.filter(case_id__in=("kw-1.4", "kw-1.5")).order_by("started_at")
    assert {link.run_id for link in case.receipts.all()} == {run.run_id for run in dishonest}
    assert case.first_at == dishonest[0].started_at
    # The claim stays what Countersign said is live; only the slot gives it away.
    assert {run.release_digest for run in dishonest} == {live.pk}


def test_undoing_it_stops_it_and_what_was_found_stays(
    application: Application, folder: Path
) -> None:
    call_command("demo_tamper", "--threshold", "0.2")
    application.answer()
    call_command("demo_tamper", "--undo")
    application.answer(3)
    work()
    (case,) = undeclared()
    assert case.receipt_count == 1


def test_a_lower_threshold_really_changes_what_runs(application: Application) -> None:
    honest = application.source.current("case")
    call_command("demo_tamper", "--threshold", "0.2")
    changed = application.source.current("case")
    assert honest is not None
    assert changed is not None
    mails = [mail.text for mail in LIBRARY.hold_out()]
    handed_over = [
        sum(decision.escalated for decision in running.router.decide_all(mails))
        for running in (honest, changed)
    ]
    assert handed_over[1] < handed_over[0]
    assert [
        slot for slot in Slot.values if honest.components[slot] != changed.components[slot]
    ] == ["guardrails"]


def test_settings_that_cannot_be_run_change_nothing(application: Application, folder: Path) -> None:
    honest = application.source.current("case")
    assert honest is not None
    for said in ('{"model": {"analyzer": "none"}}', "{", "[1]", '{"colour": {"a": 1}}'):
        (folder / FILE).write_text(said)
        running = application.source.current("case")
        assert running is not None
        assert running.components == honest.components


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / FILE
    tampering = Tampering(path)
    assert tampering.changes() == {}
    path.write_text('{"routing": {"default": "a"}}')
    assert tampering.changes() == {"routing": {"default": "a"}}
    path.write_text('{"routing": {"default": "other"}}')
    assert tampering.changes() == {"routing": {"default": "other"}}
    path.unlink()
    assert tampering.changes() == {}


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--threshold", "1.5"), ("--set", "colour.a=1"), ("--set", "model"),
        ("--set", "model.id={"), ("--set", "model.seed=NaN"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_is_refused(folder: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        call_command("demo_tamper", *arguments)
    assert not (folder / FILE).exists()


def test_without_a_demo_there_is_nothing_to_tamper_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with pytest.raises(CommandError, match="no demo"):
        call_command("demo_tamper", "--threshold", "0.2")
