"""The seeded demo: its story, its end, and the application that follows what is live.

One test, because the story takes half a minute to tell and nothing may be left of it.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count

from governance.audit.models import AuditEvent
from governance.common.time import now
from governance.demo.support import traffic
from governance.evals.models import EvalRun, SuiteVersion
from governance.people.models import User
from governance.receipts.models import Receipt, RollUp
from governance.releases.models import LiveRelease, Release
from governance.reviews.models import Review
from governance.rollouts import services as rollouts
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.road_models import PromotionOutcome
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow

PASSWORD = "a password for the demo"
State = Promotion.State


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def application(live_server: Any, data_dir: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start the demo's own process, as `make up` does."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [
                    sys.executable, "-m", "governance.demo.support", "--url", live_server.url,
                    "--token-file", str(data_dir / "demo-token"),
                    "--data", str(data_dir / "demo.json"), "--interval", "0.3",
                ],
                env={"PATH": os.environ["PATH"]}, cwd=Path(__file__).resolve().parents[2],
                stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _seed(*arguments: str) -> str:
    said = StringIO()
    call_command("seed_demo", *arguments, "--password", PASSWORD, stdout=said)
    return said.getvalue()


def _wait_for_receipt(release: Release, since: datetime, seconds: float = 10) -> Receipt:
    """Return the first receipt of `release` that started after `since`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = Receipt.objects.filter(release_digest=release.pk, started_at__gt=since).first()
        if found is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(f"No receipt of {release} within {seconds} s.")


@pytest.mark.django_db(transaction=True)
def test_the_story_is_told_and_the_application_follows_what_is_live(
    data_dir: Path,
    application: Callable[[], subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic, "MAILS_A_DAY", (40,) * 7)
    said = _seed()
    _check_promotions()
    _check_people(said)
    _check_runs()
    _check_files(data_dir)

    assert "in use" in _seed("--if-empty")
    with pytest.raises(CommandError, match="empty one only"):
        _seed()

    process = application()
    _approve_and_roll_back()
    began = time.monotonic()
    process.terminate()
    _, said = process.communicate(timeout=5)
    assert process.returncode == 0, said
    assert time.monotonic() - began < 3


def _check_promotions() -> None:
    states = Promotion.objects.order_by("release__number").values_list("state", "risk")
    assert list(states) == [
        (State.SUPERSEDED, "high"),
        (State.SUPERSEDED, "medium"),
        (State.LIVE, "low"),
        (State.ROLLED_BACK, "medium"),
        (State.REFUSED, "high"),
        (State.AWAITING_OWNER, "medium"),
    ]
    live = LiveRelease.objects.get()
    assert (live.release.number, live.stage) == (3, LiveRelease.Stage.ROLLED_BACK)
    assert live.last_known_good is not None
    assert live.last_known_good.number == 2
    post_mortem = PostMortem.objects.get()
    assert post_mortem.finished_at is not None
    assert "handed over" in post_mortem.cause
    assert all(action.done_at for action in post_mortem.actions.all())
    outcomes = PromotionOutcome.objects.order_by("promotion__release__number")
    assert [row.promotion.release.number for row in outcomes] == [2, 3, 4]
    assert all(row.runs_before and row.runs_after for row in outcomes)
    # It hands over clearly more, which was the point of it.
    assert outcomes[1].verdict in ("as_expected", "more"), outcomes[1].sentence
    refused = Promotion.objects.get(state=State.REFUSED).gate_report
    assert refused is not None
    assert "must-pass" in " ".join(refused.content["reasons"])
    waiting = Promotion.objects.get(state=State.AWAITING_OWNER).gate_report
    assert waiting is not None
    # On the lead KPI, a rise of a quarter of its limit must not be called "No worse".
    for report in (refused, waiting):
        margins = {
            row["suite"]: row["margin"]
            for row in report.content["rows"]
            if (row["metric"], row["role"]) == ("escalated", "guardrail")
        }
        assert margins == {"golden": 8, "recent": 8}
    assert not EvalRun.objects.exclude(state=EvalRun.State.DONE).exists()
    assert set(SuiteVersion.objects.values_list("kind", flat=True)) == {
        "golden", "adversarial", "recent",
    }  # fmt: skip


def _check_people(said: str) -> None:
    assert User.objects.count() == 10
    assert User.objects.get(username="cfo").check_password(PASSWORD)
    assert said.count(PASSWORD) == 1
    signed = Review.objects.exclude(signed_off_at=None)
    assert signed.filter(kind="weekly").count() >= 11
    told = AuditEvent.objects.filter(demo=True, actor_type="user")
    assert told.count() > 50
    with pytest.raises(SystemExit) as end:
        call_command("audit_verify", stdout=StringIO())
    assert end.value.code == 0


def _check_runs() -> None:
    standings = dict(Receipt.objects.order_by().values_list("standing").annotate(Count("run_id")))
    assert standings["authorised"] > 2_000
    assert standings["unattributed"] > 1
    assert standings["unauthorised"] == 4
    assert Receipt.objects.exclude(violations=[]).exists()
    kinds = ExceptionCase.objects.open().values_list("kind", flat=True)
    assert set(kinds) == {"unattributed", "unauthorised", "policy_violation"}
    assert ExceptionCase.objects.filter(state="resolved", kind="unattributed").count() == 1
    escalated = RollUp.objects.filter(grain="day", measure="escalated")
    by_release = {
        release.number: [row for row in escalated if row.release_digest == release.pk]
        for release in Release.objects.all()
    }
    shares = {
        number: sum(row.total for row in rows) / sum(row.n for row in rows)
        for number, rows in by_release.items()
        if rows
    }
    assert shares[2] < shares[1]  # the promotion that helped
    assert shares[3] > shares[2] + 0.08  # the one that raised escalation
    assert shares.keys() == {1, 2, 3, 4, 5}  # 5: runs that nobody approved


def _check_files(data_dir: Path) -> None:
    token = data_dir / "demo-token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert json.loads((data_dir / "demo.json").read_text()) == {"messages": "messages.csv"}


def _approve_and_roll_back() -> None:
    workflow = Workflow.objects.get()
    owner = User.objects.get(username="head-of-support")
    before = LiveRelease.objects.get().release
    first = _wait_for_receipt(before, now(), seconds=20)
    assert first.standing == "authorised"
    assert first.escalated is not None
    assert first.cost is not None
    assert {"first_response_s", "policy_ok"} <= set(first.measures)
    assert set(first.observed) >= {"model", "retrieval", "guardrails"}

    waiting = Promotion.objects.get(state=State.AWAITING_OWNER)
    rollouts.approve_promotion(
        waiting.pk, actor=owner, review_round=waiting.review_round, authenticated_at=now(),
        reason="Better where it counts.",
    )  # fmt: skip
    assert _wait_for_receipt(waiting.release, now()).standing == "authorised"

    rollouts.roll_back(workflow, actor=owner, reason="Only a test.")
    assert LiveRelease.objects.get().release == before
    assert _wait_for_receipt(before, now()).standing == "authorised"
