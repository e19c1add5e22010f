"""I5: kill -9 at every failpoint, and what is there afterwards.

`python -m tests.faults.kills FOLDER COUNT` runs it all on durable servers of its own and prints
one JSON object; the short run of `make test` calls `trial` on the servers of the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.faults.arena import Arena
    from tests.faults.stage import Server, Stage

ACTS = ("approve", "roll back")
RINGS = "roll back"  # an approval's jobs are all for later, so it never comes to the nudge
IN_A_WORKER = ("before the lock", "after the audit row", "before commit", "after commit")


@dataclass
class Tally:
    """What came of all trials."""

    trials: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    chain_breaks: int = 0
    broken: list[str] = field(default_factory=list)
    recovery: list[float] = field(default_factory=list)
    by_victim: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        seconds = sorted(self.recovery)
        middle = seconds[len(seconds) // 2] if seconds else None
        killed = " ".join(f"{name} {count}" for name, count in self.by_victim.items())
        return {
            "trials": self.trials, "killed": killed, "acknowledged": self.acknowledged,
            "lost": self.lost, "duplicated": self.duplicated, "chain_breaks": self.chain_breaks,
            "broken": self.broken[:5],  # sentences
            "recovery_seconds_median": None if middle is None else round(middle, 1),
            "recovery_seconds_worst": round(seconds[-1], 1) if seconds else None,
        }  # fmt: skip


def trial(
    stage: Stage, arena: Arena, tally: Tally, act: str, victim: str, failpoint: str,
    servers: Mapping[str, Server] | None = None,
) -> None:  # fmt: skip
    """One act of one person, in the middle of which the victim is killed."""
    from django.db import connection

    from governance.releases.models import LiveRelease
    from governance.rollouts.models import LiveChange
    from tests.faults import invariants
    from tests.faults.stage import session_of, until

    promotion = arena.waiting()
    arena.approve(promotion, "cfo")
    if act == "roll back":
        arena.approve(promotion, "owner")
    before = LiveRelease.objects.get(workflow=arena.workflow).seq
    person = "owner" if act == "approve" else "builder"
    cookies = session_of(arena.people[person])
    here = stage.folder / f"reached-{tally.trials}"
    stage.start_web(failpoint if victim == "web" else f"{failpoint}:{here}")

    def ask() -> int:
        if act == "approve":
            return stage.post(
                f"/promotions/{promotion.pk}/approve/", cookies,
                review_round=promotion.review_round, reason="It is better.",
            )  # fmt: skip
        return stage.post(
            f"/workflows/{arena.slug}/roll-back/", cookies, reason="It harms.", seq=before
        )

    answers: list[int] = []
    asking = Thread(target=lambda: answers.append(ask()))
    asking.start()
    if victim != "web":
        assert servers is not None
        until(lambda: here.exists() or answers, f"{failpoint} of {act}")
        connection.close()
        killed = time.monotonic()
        servers[victim].kill()
        here.unlink(missing_ok=True)
        if victim == "postgres":
            servers[victim].start()
    asking.join()
    if victim == "web":
        killed = time.monotonic()
        assert answers == [0], f"{failpoint}: the web process was to die, it answered {answers}"
    elif victim == "valkey":
        servers[victim].start()  # type: ignore[index]
    connection.close()
    stage.start_web()
    until(lambda: stage.get(f"/workflows/{arena.slug}/", cookies) == 200, "pages again")
    tally.recovery.append(time.monotonic() - killed)

    acknowledged = answers[0] in (200, 302)
    there = LiveChange.objects.filter(workflow=arena.workflow, seq__gt=before).count()
    tally.trials += 1
    tally.by_victim[victim] = tally.by_victim.get(victim, 0) + 1
    tally.acknowledged += acknowledged
    tally.lost += acknowledged and not there
    # Whoever got no answer asks again; the effect must be there once, whatever happened before.
    if not acknowledged:
        again = ask()
        tally.acknowledged += again in (200, 302)
        if again not in (200, 302, 409):
            tally.broken.append(f"{act}, {failpoint}, {victim}: asked again, answered {again}")
    there = LiveChange.objects.filter(workflow=arena.workflow, seq__gt=before).count()
    tally.lost += there == 0
    tally.duplicated += max(there - 1, 0)
    tally.broken += invariants.broken(arena.workflow)
    tally.chain_breaks += len(invariants.chain_breaks())
    arena.finish_post_mortems()


def worker_trial(stage: Stage, arena: Arena, tally: Tally, failpoint: str) -> None:
    """A worker dies while it does the evals and the gate; another one takes over."""
    from governance.audit.models import AuditEvent
    from governance.jobs import services as jobs
    from tests.faults import invariants
    from tests.faults.stage import end, until

    promotion = arena.proposed()
    first = stage.start_worker(failpoint)
    until(lambda: first.poll() is not None, f"a worker dies at {failpoint}")
    killed = time.monotonic()
    second = stage.start_worker()

    def judged() -> bool:
        jobs.sweep()
        time.sleep(1)
        promotion.refresh_from_db()
        return promotion.state != "evaluating"

    # The lease of what the dead worker held must run out first.
    until(judged, "another worker takes over", 240)
    tally.recovery.append(time.monotonic() - killed)
    end(second)
    tally.trials += 1
    tally.by_victim["worker"] = tally.by_victim.get("worker", 0) + 1
    events = AuditEvent.objects.filter(object_type="promotion", object_id=str(promotion.pk))
    passed = events.filter(verb="promotion.gate_passed").count()
    tally.lost += passed == 0
    tally.duplicated += max(passed - 1, 0)
    tally.broken += invariants.broken(arena.workflow)
    tally.chain_breaks += len(invariants.chain_breaks())
    arena.withdraw(promotion)


def main(folder: Path, count: int) -> None:
    from governance.embedded.servers import running

    with running(folder / "data") as servers:
        os.environ.update(
            DJANGO_SETTINGS_MODULE="governance.settings", DATA_DIR=str(folder / "data"),
            DATABASE_URL=servers.database_url, REDIS_URL=servers.redis_url,
            SECRET_KEY="faults-only-" + "k" * 50,
        )  # fmt: skip
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"], check=True,
            env={**os.environ, "DATABASE_URL": servers.owner_database_url},
        )  # fmt: skip
        import django

        django.setup()

        from django.conf import settings

        from governance.common.failpoints import NAMES
        from tests.faults.arena import Arena, EveryTarget
        from tests.faults.stage import Server, Stage

        settings.EVAL_TARGETS = EveryTarget()
        pids = {
            entry["name"]: entry["pid"]
            for entry in json.loads((folder / "data" / "processes.json").read_text())
        }
        victims = {"postgres": Server(pids["postgres"]), "valkey": Server(pids["valkey"])}
        arena, tally = Arena(), Tally()
        arena.approve(arena.waiting(), "cfo")
        arena.withdraw(arena.asked(len(arena.promotions) - 1))
        try:
            with Stage(folder, servers.database_url, servers.redis_url) as stage:
                stage.environment["EVAL_TARGETS"] = f"{arena.slug}=tests.rollouts.target.build"
                for failpoint in IN_A_WORKER:
                    worker_trial(stage, arena, tally, failpoint)
                for number in range(count):
                    for failpoint in NAMES:
                        for victim in ("web", "postgres", "valkey"):
                            act = ACTS[(number + NAMES.index(failpoint)) % 2]
                            if failpoint == "before the nudge":
                                act = RINGS
                            trial(stage, arena, tally, act, victim, failpoint, victims)
        finally:
            for server in victims.values():
                server.kill()
    print(json.dumps(tally.as_json()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
