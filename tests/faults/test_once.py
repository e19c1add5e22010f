"""I2: one effect per key, however many ask at once and whatever dies before the answer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.db import connection
from django.test import Client
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from governance.common.time import now
from governance.embedded.servers import read
from governance.people.services import create_token
from governance.receipts import partitions
from governance.receipts.models import Receipt
from governance.releases.models import Release
from governance.rollouts.models import Promotion
from tests.conftest import TESTER, slots
from tests.faults import invariants
from tests.faults.arena import Arena, EveryTarget, together
from tests.faults.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True)
SCOPES = ("releases:write", "promotions:propose", "receipts:write")


@pytest.fixture
def arena(settings: Any) -> Arena:
    settings.EVAL_TARGETS = EveryTarget()
    partitions.forget()
    partitions.ensure_partitions([now().date()])
    return Arena()


@pytest.fixture
def secret(arena: Arena) -> str:
    return create_token("ci", scopes=SCOPES, actor=TESTER)[1]


class Asked:
    """The same request from many clients at once, and how each was answered."""

    def __init__(self, secret: str, path: str, body: object, **headers: str) -> None:
        self.path, self.body = path, json.dumps(body)
        self.headers = {"Authorization": f"Bearer {secret}", **headers}
        self.answers: Counter[int] = Counter()
        self.bodies: list[dict[str, Any]] = []

    def ask(self) -> None:
        answer = Client(headers=self.headers).post(
            self.path, self.body, content_type="application/json"
        )
        self.answers[answer.status_code] += 1
        self.bodies.append(answer.json())

    def at_once(self, count: int) -> Counter[int]:
        refused = [error for error in together(*[self.ask] * count) if error is not None]
        assert refused == []
        return self.answers


def test_identical_requests_at_once_have_one_effect(
    arena: Arena, secret: str, full: bool, figure: Callable[..., None]
) -> None:
    counts = (2, 4, 8, 16, 32) if full else (2, 8)
    keys = requests = 0
    for round_, count in enumerate(counts * (10 if full else 1)):
        content = {"provider": "own", "id": f"once {round_}", "parameters": {"right_of_100": 75}}
        before = Release.objects.count()
        registering = Asked(
            secret, f"/api/v1/workflows/{arena.slug}/releases",
            {"title": "Once", "slots": slots(model=content, threshold=0.95)},
        )  # fmt: skip
        assert registering.at_once(count) == {201: 1, 200: count - 1}
        assert Release.objects.count() == before + 1
        digest = registering.bodies[0]["digest"]

        proposing = Asked(
            secret, "/api/v1/promotions", {"release": digest, "rationale": "It is better."},
            **{"Idempotency-Key": f"build {round_}"},
        )  # fmt: skip
        assert proposing.at_once(count) == {201: 1, 200: count - 1}
        (promotion,) = Promotion.objects.filter(release=digest)
        assert {body["promotion"] for body in proposing.bodies} == {promotion.pk}
        other = Asked(
            secret, "/api/v1/promotions", {"release": digest, "rationale": "Another reason."},
            **{"Idempotency-Key": f"build {round_}"},
        )  # fmt: skip
        assert other.at_once(1) == {409: 1}
        Promotion.objects.filter(pk=promotion.pk).update(
            state="withdrawn", closed_at=now(), closed_by_label="tests"
        )

        one = {
            "run_id": f"run {round_}", "workflow": arena.slug, "started_at": now().isoformat(),
            "cost": 0.01,
        }  # fmt: skip
        sending = Asked(secret, "/api/v1/receipts", {"receipts": [one]})
        assert set(sending.at_once(count)) == {200}
        assert sum(body["accepted"] for body in sending.bodies) == 1
        assert Receipt.objects.filter(run_id=one["run_id"]).count() == 1
        changed = Asked(secret, "/api/v1/receipts", {"receipts": [{**one, "cost": 0.02}]})
        changed.at_once(1)
        assert changed.bodies[0]["accepted"] == 0
        assert len(changed.bodies[0]["refused"]) == 1
        keys += 3
        requests += 3 * count
    assert invariants.chain_breaks() == []
    others = 2 * keys // 3  # a release is named by its content: another body is another one
    figure("I2", keys=keys, requests=requests, effects_per_key=1, other_bodies_refused=others)


def test_who_got_no_answer_after_the_commit_asks_again_and_finds_the_one_effect(
    arena: Arena, secret: str, tmp_path: Path, full: bool, figure: Callable[..., None]
) -> None:
    servers = read(project.DATA_DIR)
    assert servers is not None
    parts = conninfo_to_dict(servers.database_url)
    url = make_conninfo(**{**parts, "dbname": connection.settings_dict["NAME"]})
    kills = 10 if full else 1
    with Stage(tmp_path, url, servers.redis_url) as stage:
        for number in range(kills):
            content = {"provider": "own", "id": f"killed {number}"}
            body = {"title": "Once", "slots": slots(model=content, threshold=0.95)}
            ask = partial(stage.send, f"/api/v1/workflows/{arena.slug}/releases", secret, body)
            before = Release.objects.count()
            stage.start_web("after commit")
            assert ask() == 0
            assert Release.objects.count() == before + 1
            stage.start_web()
            assert ask() == 200
            assert Release.objects.count() == before + 1
    figure("I2", killed_between_commit_and_answer=kills, asked_again=kills, effects_per_key=1)
