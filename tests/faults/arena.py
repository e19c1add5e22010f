"""Real threads with real connections, let go at the same moment."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from django.db import connection

from governance.common.time import now
from governance.people.models import User
from governance.releases.models import LiveRelease
from governance.rollouts import services
from governance.rollouts.models import PostMortem, Promotion
from tests.faults.model import OWNER, Candidate
from tests.faults.world import World

FIRST = Candidate(0.9, 50, 0, "builder")


class EveryTarget(dict[str, str]):
    """The setting EVAL_TARGETS, with one target for whatever workflow is made."""

    def __bool__(self) -> bool:
        return True

    def get(self, key: object, default: object = None) -> str:
        return "tests.rollouts.target.build"

    def __contains__(self, key: object) -> bool:
        return True


def together(*acts: Callable[[], object]) -> list[Exception | None]:
    """Do all of them at once; returns what each was refused with, None where it succeeded."""
    barrier = threading.Barrier(len(acts))
    outcomes: list[Exception | None] = [None] * len(acts)

    def do(number: int, act: Callable[[], object]) -> None:
        try:
            connection.ensure_connection()
            barrier.wait()
            act()
        except Exception as error:  # handed to the caller, who says what may happen
            outcomes[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


class Arena(World):
    """One workflow in which promotions are made ready, again and again, at the true time."""

    def __init__(self) -> None:
        super().__init__([FIRST])
        self.rounds = itertools.count(1)
        more = {"coo": User.Role.EXECUTIVE, "d1": "member", "d2": "member", "d3": "member"}
        for name, role in more.items():
            self.people[name] = User.objects.create(
                username=f"{name}-{self.number}", role=role, password="!"
            )
        with self.clock():
            for name in ("deputy", "d1", "d2", "d3"):
                self.delegate(OWNER, name, 0, 20 * 365 * 86_400)

    def waiting(self) -> Promotion:
        """A high-risk promotion that waits for its two people."""
        self.proposed()
        promotion = self.judge(len(self.promotions) - 1)
        assert (promotion.state, promotion.risk) == ("awaiting_owner", "high")
        return promotion

    def proposed(self) -> Promotion:
        """The same before its evals and its gate, which are waiting jobs."""
        number = next(self.rounds)
        live = LiveRelease.objects.select_related("release").get(workflow=self.workflow).release
        serves = (live.contents()["model"] or {})["parameters"]["right_of_100"]
        # Ever so slightly weaker than every one before, and acting differently.
        right = 75 if serves == 50 else 50
        candidate = Candidate(0.9 - number / 10_000, right, number, "builder")
        self.register("builder", candidate)
        self.propose(
            "builder", len(self.releases) - 1, road="promotion", steps=0, fixes=None, standing=None
        )
        return self.asked(len(self.promotions) - 1)

    def approve(self, promotion: Promotion, who: str) -> None:
        services.approve_promotion(
            promotion.pk, actor=self.people[who], review_round=promotion.review_round,
            reason="It is better.", authenticated_at=now(),
        )  # fmt: skip

    def finish_post_mortems(self) -> None:
        """The next promotion is free again."""
        unfinished = PostMortem.objects.unfinished().filter(rollback__workflow=self.workflow)
        for pk in list(unfinished.values_list("pk", flat=True)):
            first, second = self.people["builder"], self.people["cfo"]
            services.write_post_mortem(pk, actor=first, cause="A race.", impact="None.")
            services.add_action(pk, actor=first, text="Nothing.")
            services.submit_post_mortem(pk, actor=first)
            services.finish_post_mortem(pk, actor=second)

    def withdraw(self, promotion: Promotion) -> None:
        promotion.refresh_from_db()
        if promotion.state == "awaiting_owner":
            services.withdraw_promotion(
                promotion.pk, actor=self.people["builder"], reason="The race is over."
            )
