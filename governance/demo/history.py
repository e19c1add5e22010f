"""Twelve weeks of Support triage, told with the real functions on a story clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from governance import audit
from governance.common.time import now, story_time, true_now
from governance.demo import registers
from governance.demo.cast import DEMO, Cast, create_cast
from governance.demo.expected import expectation, look_back
from governance.demo.past_runs import Mail, PastRuns
from governance.demo.questions import open_questions, second_mailbox
from governance.demo.routine import Routine
from governance.demo.support.library import ORDINARY, Library
from governance.demo.support.releases import BY_KEY
from governance.demo.support.suites import adversarial_cases, golden_cases
from governance.demo.support.target import router_for
from governance.demo.waiting_work import finish_waiting_jobs, go_on_from_now
from governance.evals import scheduling
from governance.evals import services as evals
from governance.receipts.tasks import ensure_schedule as partitions_in_time
from governance.releases.models import LiveRelease, Release
from governance.releases.services import register_release
from governance.rollouts import services as rollouts
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.post_mortems import refresh

WEEKS = 12  # and the days of this week so far
Say = Callable[[str], None]


def tell(library: Library, password: str, say: Say) -> PastRuns:
    """Make the demo's people, releases, decisions and run receipts, up to now."""
    return _Story(library, password, say).tell()


def gate_policy(library: Library, *, with_recent: bool) -> dict[str, Any]:
    """Return what a candidate must show; recent cases joined after the rollback."""
    golden = len(golden_cases(library, languages=["en"]))
    suites: dict[str, Any] = {
        "golden": {"min_cases": min(150, golden)},
        "adversarial": {"min_cases": 60},
    }
    judged = ["golden"]
    more_escalated = 20  # points; the first gate had to let caution through
    if with_recent:
        suites["recent"] = {"min_cases": 100, "max_age_days": 14}
        judged.append("recent")
        more_escalated = 8
    return {
        "suites": suites,
        "primary": {"metric": "correct", "suites": ["golden"], "min_improvement_points": 0},
        "guardrails": [
            {"metric": "silent_error", "suites": judged, "margin_points": 3},
            {"metric": "escalated", "suites": judged, "margin_points": more_escalated},
            {"metric": "correct", "suites": ["adversarial"], "margin_points": 10},
        ],
        "floors": [{"metric": "silent_error", "suites": ["golden"], "limit_percent": 25}],
        "hard_rules": ["must_pass", "policy_violations"],
    }


class _Story:
    def __init__(self, library: Library, password: str, say: Say) -> None:
        self._library = library
        self._password = password
        self._say = say
        self._end = true_now()
        midnight = self._end.replace(hour=0, minute=0, second=0, microsecond=0)
        self._start = midnight - timedelta(weeks=WEEKS, days=midnight.weekday())
        self._mail = Mail(self._start + timedelta(hours=8), self._end, library)
        self._runs = PastRuns()
        self._cast: Cast
        self._routine: Routine

    def tell(self) -> PastRuns:
        self._begin()
        self._first_gate()
        self._promote(
            "bigger-corpus", 8, "Half a year of solved mail is labelled now. It should name more"
            " mail rightly and hand over less.",
            "Better on every count of the golden suite; fewer mails wait for a person.",
        )  # fmt: skip
        self._promote(
            "careful", 23, "A letter about a lawyer and a mail from a widow were answered by"
            " machine. Sensitive phrases and careful words now go to a person.",
            "It hands over clearly more, and I accept that: nobody in that situation should get a"
            " prepared text. We look at the escalation rate again in six weeks.",
        )  # fmt: skip
        self._step(27, 14, self._second_mailbox)
        self._drill()
        if len({message.language for message in self._library.corpus()}) > 1:
            self._english_only_and_back()
        else:
            self._say("  All messages are in one language: the story goes without the rollback")
        self._stricter_gate()
        self._refused()
        look_back(self._cast.workflow)
        self._waiting()
        self._run_mail(self._end)
        open_questions(self._cast, self._runs, self._library, self._release, self._end)
        with story_time(self._end):
            registers.fill(self._cast, self._end)
        partitions_in_time(actor=DEMO)
        go_on_from_now()
        return self._runs

    def _begin(self) -> None:
        self._say("People, workflow and KPIs")
        with story_time(self._start + timedelta(hours=6)):
            self._cast = create_cast(self._password)
        self._routine = Routine(self._cast)
        with story_time(self._start + timedelta(hours=7)):
            release = self._register("as-found")
            rollouts.adopt_as_found(
                release, actor=self._owner, authenticated_at=now(),
                reason="This is what has been answering our mail since spring. I take it over as it"
                " is; nobody has measured it.",
            )  # fmt: skip

    def _first_gate(self) -> None:
        self._step(6, 10, self._freeze_first_suites)
        with story_time(self._at(6, 14)):
            policy = evals.set_policy(
                self._cast.workflow, gate_policy(self._library, with_recent=False),
                actor=self._owner,
            )  # fmt: skip
        with story_time(self._at(7, 9)):
            evals.confirm_policy(policy, actor=self._cast["coo"])

    def _freeze_first_suites(self) -> None:
        workflow, analyst = self._cast.workflow, self._cast["analyst"]
        english = golden_cases(self._library, languages=["en"])
        evals.freeze_suite(workflow, "golden", english, actor=analyst)
        evals.freeze_suite(workflow, "adversarial", adversarial_cases(self._library), actor=analyst)

    def _promote(self, key: str, day: int, why: str, yes: str) -> Promotion:
        """Register, propose, let the gate judge, and approve a day later where it passed."""
        promotion = self._propose(key, self._at(day, 10), why)
        if promotion.state != Promotion.State.AWAITING_OWNER:
            return promotion
        self._run_mail(self._at(day + 1, 11))
        with story_time(self._at(day + 1, 11)):
            return self._approve(promotion, yes)

    def _propose(self, key: str, moment: datetime, why: str) -> Promotion:
        self._run_mail(moment)
        with story_time(moment), audit.atomic():
            # One transaction: a worker that runs already must not take these jobs at its own time.
            release = self._register(key)
            promotion = rollouts.propose_promotion(
                release, actor=self._cast["builder"], rationale=why,
                expects=expectation(key, self._cast.workflow),
            )  # fmt: skip
            finish_waiting_jobs()
        promotion.refresh_from_db()
        self._say(f"  {release.name} {release.title}: {promotion.get_state_display().lower()}")
        return promotion

    def _approve(self, promotion: Promotion, yes: str) -> Promotion:
        people = [self._owner]
        if promotion.risk == Promotion.Risk.HIGH:
            people.insert(0, self._cast["cfo"])
        for person in people:
            promotion = rollouts.approve_promotion(
                promotion.pk, actor=person, review_round=promotion.review_round, reason=yes,
                authenticated_at=now(),
            )  # fmt: skip
        return promotion

    def _english_only_and_back(self) -> None:
        promotion = self._promote(
            "english-only", 38, "The corpus grows by almost half again with English mail from the"
            " archive. Translations are left out: they are uneven and cost review time.",
            "The golden suite improves by several points and we hand over less.",
        )  # fmt: skip
        if promotion.state != Promotion.State.LIVE:
            return
        moment = self._at(42, 9, 40)
        self._run_mail(moment)
        with story_time(moment):
            rollback = rollouts.roll_back(
                self._cast.workflow, actor=self._owner,
                reason="Customers in Germany and France write that their mail is misunderstood or"
                " waits for days.",
            )  # fmt: skip
        self._write_post_mortem(rollback.post_mortem)

    def _write_post_mortem(self, post_mortem: PostMortem) -> None:
        analyst, builder = self._cast["analyst"], self._cast["builder"]
        with story_time(self._at(43, 15)):
            rollouts.write_post_mortem(
                post_mortem.pk, actor=analyst,
                cause="The corpus of this release holds English mail only. The golden suite was"
                " English too, so the gate could not see what it did to the others: "
                f"{self._share_handed_over()}.",
                impact="Three days of mail in other languages, about one mail in five. Nothing was"
                " paid or promised; answers came late.",
            )  # fmt: skip
            first = rollouts.add_action(
                post_mortem.pk, actor=analyst, owner=analyst,
                text="Golden suite in every language that customers write in",
                due_on=self._at(45, 9).date(),
            )  # fmt: skip
            second = rollouts.add_action(
                post_mortem.pk, actor=analyst, owner=builder,
                text="The gate also judges recent mail, sampled every week",
                due_on=self._at(45, 9).date(),
            )  # fmt: skip
        with story_time(self._at(44, 10)):
            rollouts.finish_action(first.pk, actor=analyst)
            rollouts.finish_action(second.pk, actor=builder)
            refresh(post_mortem.pk)
            rollouts.decide_recall(
                post_mortem.pk, actor=analyst, state="nothing_needed", cases=None,
                note="Answered again by a person within two days.",
            )  # fmt: skip
            rollouts.submit_post_mortem(post_mortem.pk, actor=analyst)
            rollouts.finish_post_mortem(post_mortem.pk, actor=self._owner)

    def _share_handed_over(self) -> str:
        """Measure what the rollback was about, on the hold-out in other languages."""
        texts = [
            message.text
            for message in self._library.hold_out()
            if message.language != "en" and message.kind == ORDINARY
        ]
        shares = []
        for key in ("careful", "english-only"):
            decisions = router_for(BY_KEY[key].slots(self._library)).decide_all(texts)
            shares.append(sum(decision.escalated for decision in decisions) / len(decisions))
        return f"it handed over {shares[1]:.0%} of it, the release before {shares[0]:.0%}"

    def _second_mailbox(self) -> None:
        """Somebody connects a second mailbox and forgets to name the release."""
        second_mailbox(self._runs, self._library, self._release("bigger-corpus"), now())
        finish_waiting_jobs()

    def _drill(self) -> None:
        """A rollback is practised on a quiet morning, while mail comes in."""
        moment = self._at(33, 9, 30)
        self._run_mail(moment)
        with story_time(moment):
            drill = registers.start_drill(self._cast)
        self._run_mail(moment + timedelta(minutes=25))
        with story_time(moment + timedelta(minutes=25)):
            registers.end_drill(self._cast, drill)

    def _stricter_gate(self) -> None:
        moment = self._at(45, 10)
        self._run_mail(moment)
        workflow = self._cast.workflow
        with story_time(moment):
            evals.freeze_suite(
                workflow, "golden", golden_cases(self._library), actor=self._cast["analyst"]
            )
            scheduling.ensure_schedules(workflow)
            policy = evals.set_policy(
                workflow, gate_policy(self._library, with_recent=True), actor=self._owner
            )
        with story_time(self._at(45, 16)):
            evals.confirm_policy(policy, actor=self._cast["coo"])
        self._routine.recent_suites = True

    def _refused(self) -> None:
        self._propose(
            "fewer-escalations", self._at(50, 10),
            "Escalations cost us four dollars each. With the threshold at 0.20 more than half of"
            " them go away.",
        )  # fmt: skip

    def _waiting(self) -> None:
        self._propose(
            "characters", self._last_workday(),
            "Character n-grams read typos and other languages better. With the full corpus the"
            " threshold can go up and we still hand over less.",
        )  # fmt: skip

    def _register(self, key: str) -> Release:
        made = BY_KEY[key]
        release, _ = register_release(
            self._cast.workflow, made.slots(self._library), title=made.title,
            actor=self._cast["builder"],
        )  # fmt: skip
        return release

    def _release(self, key: str) -> Release:
        return Release.objects.get(workflow=self._cast.workflow, title=BY_KEY[key].title)

    @property
    def _owner(self) -> Any:
        return self._cast["head-of-support"]

    def _step(self, day: int, hour: int, act: Callable[[], None]) -> None:
        moment = self._at(day, hour)
        self._run_mail(moment)
        with story_time(moment):
            act()

    def _run_mail(self, moment: datetime) -> None:
        """Answer what arrived until `moment`, and do what a team does every Monday."""
        for monday in self._routine.due(self._start, moment):
            self._answer(self._mail.until(monday))
            self._routine.monday(monday)
        self._answer(self._mail.until(moment))

    def _answer(self, arrivals: Sequence[Any]) -> None:
        if arrivals:
            live = LiveRelease.objects.select_related("release").get(workflow=self._cast.workflow)
            self._runs.run(live.release, arrivals)
            with story_time(arrivals[-1].at):
                finish_waiting_jobs()

    def _at(self, workday: int, hour: int, minute: int = 0) -> datetime:
        """Return a moment on the story's n-th working day, counted from 0."""
        weeks, days = divmod(workday, 5)
        return self._start + timedelta(weeks=weeks, days=days, hours=hour, minutes=minute)

    def _last_workday(self) -> datetime:
        moment = self._end - timedelta(hours=16)
        while moment.weekday() >= 5:
            moment -= timedelta(days=1)
        return moment
