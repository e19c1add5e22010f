"""What a team does every Monday: the review of the week before, recent cases, the queue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from governance.common.time import story_time
from governance.demo.cast import Cast
from governance.demo.waiting_work import finish_waiting_jobs
from governance.evals import scheduling
from governance.reviews import services as reviews
from governance.reviews.cadence import MONTHLY, WEEKLY, Period, period_of
from governance.triage import services as triage
from governance.triage.models import ExceptionCase

HOUR = 9
Kind = ExceptionCase.Kind
NOTES = {
    "drift": (
        "Read. Nothing that is not explained by the releases below.",
        "Read. Escalations move with the mix of mail; quality holds.",
        "Read. App questions come in a wave after the firmware update, as expected.",
    ),
    "exceptions": (
        "Queue is empty.",
        "Looked at the queue with the team; nothing is left open from last week.",
    ),
    "decide": (
        "No change is due this week.",
        "Talked about the open question of the builders; it stays on the list.",
    ),
    "full-suite": ("All three suites were run on the live release; see evals.",),
    "thresholds": ("Threshold stays. Coverage of the intents looked at; none is missing.",),
    "access": ("Four read tools, no write tool, refund limit 0. Corpus access unchanged.",),
}
DONE_ABOUT = {
    Kind.UNATTRIBUTED: (
        "A second mailbox was connected with an old configuration. It asks for its release now."
    ),
    Kind.UNAUTHORISED: "A trial outside the plan; it was stopped the same day.",
    Kind.POLICY_VIOLATION: (
        "Read the mails and answered them. The phrase goes into the guardrail with the next"
        " release."
    ),
    Kind.EVAL_FAILED: "Ran it again; it finished.",
}
OWNERS = {"decide": "head-of-support", "thresholds": "head-of-support"}


class Routine:
    """Knows which Mondays were worked through already."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._done_until: datetime | None = None
        self.recent_suites = False

    def due(self, start: datetime, moment: datetime) -> Iterator[datetime]:
        """Yield every Monday at nine after the last one and not after `moment`."""
        first = start + timedelta(days=(7 - start.weekday()) % 7 or 7, hours=HOUR)
        monday = self._done_until + timedelta(days=7) if self._done_until else first
        while monday <= moment:
            self._done_until = monday
            yield monday
            monday += timedelta(days=7)

    def monday(self, moment: datetime) -> None:
        """Work through one Monday morning."""
        with story_time(moment - timedelta(hours=4)):
            if self.recent_suites:
                slug = self._cast.workflow.slug
                slot = f"{slug} {moment - timedelta(hours=4):%Y-%m-%dT%H:%M}"
                if _is_first_of_month(moment):
                    kinds = ["golden", "recent", "adversarial"]
                    scheduling.request_scheduled(slug, kinds, slot=f"Full suite, {slot}")
                else:
                    scheduling.request_scheduled(slug, ["recent"], slot=f"Recent cases, {slot}")
            finish_waiting_jobs()
        with story_time(moment):
            self._work_off_exceptions()
            self._review(period_of(WEEKLY, moment.date()).previous(), "coo")
            month = period_of(MONTHLY, moment.date()).previous()
            if _is_first_of_month(moment):
                self._review(month, "cfo")

    def _work_off_exceptions(self) -> None:
        analyst = self._cast["analyst"]
        for exception in ExceptionCase.objects.open().filter(workflow=self._cast.workflow):
            triage.take(exception.pk, actor=analyst)
            triage.resolve(exception.pk, actor=analyst, comment=DONE_ABOUT[Kind(exception.kind)])

    def _review(self, period: Period, executive: str) -> None:
        review = reviews.open_review(period.kind, period.key)
        for item in review.items.order_by("position"):
            notes = NOTES.get(item.key, ("Done.",))
            who = self._cast[OWNERS.get(item.key, "analyst")]
            note = notes[(period.starts_on.toordinal() // 7) % len(notes)]
            reviews.tick(review, item.key, actor=who, note=note)
        reviews.sign_off(review, actor=self._cast[executive], note="Read and agreed.")


def _is_first_of_month(monday: datetime) -> bool:
    return monday.day <= 7
