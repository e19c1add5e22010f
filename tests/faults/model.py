"""A small reference of what may happen, written from the rules and not from the code. No Django.

It says for every act whether it may succeed, and after every act which releases may serve. People
are names, releases are numbers, times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MINUTE, HOUR, DAY = 60, 3_600, 86_400
EXECUTIVES, BUILDERS, ANALYSTS = {"cfo"}, {"builder", "maker"}, {"analyst"}
OWNER, OTHER_OWNER, BREAKS_GLASS = "owner", "controller", "maker"
PEOPLE = (OWNER, OTHER_OWNER, "cfo", "builder", "maker", "analyst", "deputy")
OPEN = ("evaluating", "awaiting_owner", "piloting")
AGAIN = ("withdrawn", "refused", "rejected", "awaiting_owner", "stopped")
MAY_STEP_BACK = EXECUTIVES | BUILDERS | ANALYSTS | {OWNER}


@dataclass(frozen=True)
class Candidate:
    """What a release holds, as far as the rules look at it."""

    threshold: float
    right: int
    flavour: int
    registered_by: str


@dataclass
class Yes:
    who: str
    meaning: str  # kpi_owner, second_approver
    delegation: int | None
    at: int


@dataclass
class Held:
    giver: str
    to: str
    start: int
    end: int
    revoked: int | None = None


@dataclass
class Freeze:
    start: int
    end: int
    lifted: bool = False
    excepted: set[int] = field(default_factory=set)


@dataclass
class Envelope:
    end: int
    uses_per_week: int
    revoked: bool = False


@dataclass
class Asked:
    """One promotion."""

    release: int
    base: int
    road: str
    requester: str
    at: int
    steps: int = 0
    fixes: int | None = None
    standing: int | None = None
    state: str = "evaluating"
    round: int = 1
    judged: int = 0
    verdict: str = ""
    policy: int = 0
    yes: list[Yes] = field(default_factory=list)
    decided: set[str] = field(default_factory=set)
    ratify_by: int = 0
    ratified: bool = False
    live_at: int = 0
    # The pilot as it runs.
    step: int = 0
    step_at: int = 0
    opened_at: int = 0
    paused: bool = False
    struck: bool = False
    alarmed: bool = False
    looked: int | None = None
    ends: int | None = None


@dataclass
class Mortem:
    handed_in_by: str = ""
    finished: bool = False


@dataclass
class Exercise:
    state: str
    origin: int = 0
    at: int = 0
    seq: int = 0


class Reference:
    """One workflow."""

    def __init__(self, pool: Sequence[Candidate]) -> None:
        """Releases that are registered already; the first of them is live, adopted as found."""
        self.now = 0
        self.active = dict.fromkeys(PEOPLE, True)
        self.releases: list[Candidate] = []
        self.authors: dict[tuple[str, object], str] = {}
        self.asked: list[Asked] = []
        self.delegations: list[Held] = []
        self.freezes: list[Freeze] = []
        self.envelopes: list[Envelope] = []
        self.mortems: list[Mortem] = []
        self.drills: list[Exercise] = []
        self.policies: list[tuple[str, int | None]] = []  # who proposed it, when it was confirmed
        self.suite_edits: list[tuple[str, int]] = []
        self.uses: list[tuple[int, int, int]] = []  # standing approval, promotion, when
        self.marks: list[int] = []
        self.pins: dict[str, int] = {}
        self.asked.append(Asked(0, 0, "adopt", OWNER, 0, state="live"))
        self.live = 0
        self.seq = 1
        self.known_good: int | None = None
        self.off = False
        self.history: list[tuple[str, int | None, int]] = [("adopt", None, 0)]
        self.movers: list[int | None] = [0]  # the promotion that moved it, beside the history
        self.since = {0: 0}  # when a release was made live by a promotion
        for candidate in pool:
            self.register(candidate)

    # -- what serves ------------------------------------------------------------------------------

    @property
    def pilot(self) -> Asked | None:
        return next((asked for asked in self.asked if asked.state == "piloting"), None)

    def serving(self) -> set[int]:
        if self.off:
            return set()
        pilot = self.pilot
        return {self.live, *self.pins.values(), *([pilot.release] if pilot else [])}

    def bad(self) -> set[int]:
        """Rolled back and not made live by a promotion since, or an emergency nobody ratified."""
        fate: dict[int, bool] = {}
        for (cause, left, came), number in zip(self.history, self.movers, strict=True):
            if cause == "rollback" and left is not None:
                fate[left] = True
            elif cause in ("adopt", "promotion"):
                if number is not None and self.unratified(self.asked[number]):
                    fate.setdefault(came, came != self.live)
                else:
                    fate[came] = False
        return {release for release, is_bad in fate.items() if is_bad}

    def unratified(self, asked: Asked) -> bool:
        return asked.road == "emergency" and not asked.ratified

    def served(self) -> set[int]:
        return {came for _, _, came in self.history}

    def _move(self, cause: str, to: int | None = None, *, number: int | None = None) -> None:
        came = self.live if to is None else to
        undo = number is not None and self.asked[number].road == "emergency"
        self.history.append((cause, self.live, came))
        self.movers.append(number)
        self.seq += 1
        if came != self.live:
            before, self.live = self.live, came
            self.known_good = before if undo else self._way_back()
        good = self.may_be_pinned()
        self.pins = {case: release for case, release in self.pins.items() if release in good}

    def may_be_pinned(self) -> set[int]:
        return (self.served() | ({self.pilot.release} if self.pilot else set())) - self.bad()

    def _way_back(self) -> int | None:
        never = self.bad() | {self.live}
        candidates = [*reversed(self.marks), *(came for _, _, came in reversed(self.history))]
        return next((release for release in candidates if release not in never), None)

    # -- people -----------------------------------------------------------------------------------

    def delegation(self, who: str) -> int | None:
        """By which the person decides for the owner now; the one that ends last."""
        held = [
            (one.end, number)
            for number, one in enumerate(self.delegations)
            if (one.giver, one.to) == (OWNER, who)
            and one.start <= self.now < one.end
            and (one.revoked is None or one.revoked > self.now)
        ]
        return max(held)[1] if held and who != OWNER else None

    def for_owner(self, who: str) -> bool:
        return self.active[who] and (who == OWNER or self.delegation(who) is not None)

    def steps_back(self, who: str) -> bool:
        return self.active[who] and who in MAY_STEP_BACK

    def builds(self, who: str) -> bool:
        return self.active[who] and who in BUILDERS

    def parts(self, release: int) -> set[tuple[str, object]]:
        held = self.releases[release]
        return {("guardrails", held.threshold), ("model", (held.right, held.flavour))}

    def register(self, candidate: Candidate) -> None:
        self.releases.append(candidate)
        for part in self.parts(len(self.releases) - 1):
            self.authors.setdefault(part, candidate.registered_by)

    def makers(self, asked: Asked) -> set[str]:
        """Who asked for it, registered it or wrote a part that the base does not have."""
        changed = self.parts(asked.release) - self.parts(asked.base)
        return {
            asked.requester,
            self.releases[asked.release].registered_by,
            *(self.authors[part] for part in changed),
        }

    def contributors(self, asked: Asked) -> set[str]:
        """The makers, and who edited since the base went live what judges it, unconfirmed."""
        since = self.since.get(asked.base, 0)
        found = self.makers(asked)
        found |= {who for who, at in self.suite_edits if at > since}
        found |= {
            who
            for who, confirmed in self.policies
            if confirmed is not None and confirmed > asked.at
        }
        return found

    def is_high(self, asked: Asked) -> bool:
        return self.releases[asked.release].threshold < self.releases[asked.base].threshold

    def needs_two(self, asked: Asked) -> bool:
        return self.is_high(asked) or asked.fixes is not None

    @staticmethod
    def is_second(who: str) -> bool:
        return who in EXECUTIVES or who == OTHER_OWNER

    @property
    def policy(self) -> int:
        """The newest confirmed one."""
        return max(n for n, (_, confirmed) in enumerate(self.policies) if confirmed is not None)

    # -- what holds back --------------------------------------------------------------------------

    def blocked(self, fixes: int | None) -> bool:
        return any(not one.finished and n != fixes for n, one in enumerate(self.mortems))

    def frozen(self, number: int) -> bool:
        return any(
            one.start <= self.now < one.end and not one.lifted and number not in one.excepted
            for one in self.freezes
        )

    def stale(self, asked: Asked) -> bool:
        return asked.base != self.live or asked.policy != self.policy

    def others_open(self, number: int | None = None) -> bool:
        return any(a.state in OPEN for n, a in enumerate(self.asked) if n != number)

    def waits(self, asked: Asked) -> bool:
        if asked.state == "piloting" and asked.road == "pilot":
            return asked.verdict == "pass" and asked.judged == asked.round
        return asked.state == "awaiting_owner"

    # -- asking and judging -----------------------------------------------------------------------

    def may_ask(self, who: str, asked: Asked, number: int | None = None) -> bool:
        unfinished = asked.fixes is None or not self.mortems[asked.fixes].finished
        return (
            self.builds(who)
            and not self.others_open(number)
            and asked.release != self.live
            and unfinished
            and not self.blocked(asked.fixes)
            and (asked.road != "maintenance" or self._model_changes(asked.release))
        )

    def _model_changes(self, release: int) -> bool:
        return any(slot == "model" for slot, _ in self.parts(release) - self.parts(self.live))

    def fits(self, asked: Asked, made_by: set[str]) -> bool:
        """Whether a use stays inside its standing approval (slot: model)."""
        assert asked.standing is not None
        envelope = self.envelopes[asked.standing]
        number = next((n for n, one in enumerate(self.asked) if one is asked), None)
        week = {
            use for of, use, at in self.uses
            if of == asked.standing and use != number and at > self.now - 7 * DAY
        }  # fmt: skip
        same_guardrails = (
            self.releases[asked.release].threshold == self.releases[asked.base].threshold
        )
        return (
            not envelope.revoked
            and self.now < envelope.end
            and self.active[OWNER]
            and OWNER not in made_by
            and same_guardrails
            and len(week) < envelope.uses_per_week
        )

    def ask_again(self, asked: Asked, who: str) -> None:
        asked.base, asked.requester, asked.at = self.live, who, self.now
        asked.round += 1
        asked.state = "evaluating"
        asked.verdict = ""
        asked.road = "promotion" if asked.road == "pilot" else asked.road
        asked.yes, asked.decided = [], set()

    def gate_waits(self, asked: Asked) -> bool:
        if asked.state == "piloting" and asked.road == "pilot":
            return asked.judged < asked.round
        return asked.state == "evaluating"

    def judged(self, number: int, verdict: str) -> None:
        asked = self.asked[number]
        asked.verdict, asked.judged, asked.policy = verdict, asked.round, self.policy
        if asked.state == "piloting":
            if verdict == "fail":
                self.end_pilot(asked, "stopped")
        elif verdict != "pass":
            asked.state = "refused"
        else:
            asked.state = "awaiting_owner"
            if asked.standing is not None:
                held = self.stale(asked) or not self.fits(asked, self.contributors(asked))
                held = held or (self.off and asked.steps > 0)
                if held or self.frozen(number) or self.blocked(asked.fixes):
                    asked.road, asked.standing = "promotion", None
                else:
                    self.promote(number)

    # -- deciding ---------------------------------------------------------------------------------

    def may_decide(self, who: str, number: int, *, fresh: bool, right_round: bool) -> bool:
        asked = self.asked[number]
        allowed = self.for_owner(who) or (self.needs_two(asked) and self.is_second(who))
        return (
            self.active[who]
            and allowed
            and fresh
            and right_round
            and self.waits(asked)
            and who not in asked.decided
        )

    def may_approve(self, who: str, number: int, *, fresh: bool, right_round: bool) -> bool:
        asked = self.asked[number]
        return (
            self.may_decide(who, number, fresh=fresh, right_round=right_round)
            and self.has_clean_hands(who, asked)
            and not self.stale(asked)
            and not self.blocked(asked.fixes)
            and not self.frozen(number)
            and not (self.off and asked.steps and asked.state != "piloting")
        )

    def has_clean_hands(self, who: str, asked: Asked) -> bool:
        made_by = self.contributors(asked)
        return who not in made_by and (self.delegation(who) is None or OWNER not in made_by)

    def counting(self, asked: Asked, at: int, made_by: set[str]) -> Iterator[Yes]:
        lasts = (24 if self.is_high(asked) else 72) * HOUR
        for yes in asked.yes:
            held = self.delegations[yes.delegation] if yes.delegation is not None else None
            if (
                yes.at > at - lasts
                and self.active[yes.who]
                and yes.who not in made_by
                and (held is None or OWNER not in made_by)
                and (held is None or held.revoked is None or held.revoked > at)
            ):
                yield yes

    def quorum(self, asked: Asked, at: int, made_by: set[str]) -> bool:
        counting = list(self.counting(asked, at, made_by))
        owners = {yes.who for yes in counting if yes.meaning == "kpi_owner"}
        seconds = {yes.who for yes in counting if yes.meaning == "second_approver"}
        return bool(owners) and (not self.needs_two(asked) or bool(seconds - owners))

    def approve(self, who: str, number: int) -> None:
        asked = self.asked[number]
        delegation = self.delegation(who)
        meaning = "kpi_owner"
        if who != OWNER and delegation is None:
            meaning = "second_approver"
        elif delegation is not None and self.needs_two(asked) and self.is_second(who):
            valid = self.counting(asked, self.now, self.contributors(asked))
            owned = any(yes.meaning == "kpi_owner" for yes in valid)
            meaning = "second_approver" if owned else "kpi_owner"
        by_owner = delegation if meaning == "kpi_owner" else None
        asked.yes.append(Yes(who, meaning, by_owner, self.now))
        asked.decided.add(who)
        if self.quorum(asked, self.now, self.contributors(asked)):
            self.promote(number)

    def promote(self, number: int) -> None:
        asked = self.asked[number]
        if asked.steps and asked.state != "piloting":
            self.open_pilot(number)
        else:
            self.make_live(number)

    def make_live(self, number: int) -> None:
        asked = self.asked[number]
        for other in self.asked:
            if other.state == "live":
                other.state = "superseded"
        asked.state, asked.live_at = "live", self.now
        self._used(number)
        self._move("promotion", asked.release, number=number)
        self.since[asked.release] = self.now

    def _used(self, number: int) -> None:
        standing = self.asked[number].standing
        if standing is not None:
            self.uses.append((standing, number, self.now))

    # -- pilots -----------------------------------------------------------------------------------

    def open_pilot(self, number: int, ends: int | None = None) -> None:
        asked = self.asked[number]
        asked.state, asked.step, asked.step_at, asked.ends = "piloting", 0, self.now, ends
        asked.opened_at = self.now
        asked.paused = asked.alarmed = False
        self._used(number)
        self._move("pilot_opened")

    def end_pilot(self, asked: Asked, state: str) -> None:
        asked.state = state
        self._used(self.asked.index(asked))
        self._move("pilot_stopped")

    def close_pilot(self) -> None:
        if self.pilot is not None:
            self.pilot.state = "stopped"

    def look(self, number: int, data: str) -> None:
        """One look of the guard at data that shows: none, good, signal or harm."""
        asked = self.asked[number]
        if asked.state != "piloting":
            return
        if asked.ends is not None and self.now >= asked.ends:
            self.end_pilot(asked, "stopped")
            return
        struck = asked.struck and (asked.looked or 0) >= asked.step_at
        if data == "harm":
            asked.struck, asked.looked = not struck, self.now
            if struck:
                self.end_pilot(asked, "stopped")
        elif data == "signal" and not asked.paused:
            asked.struck, asked.looked = not struck, self.now
            asked.paused = struck
        elif data == "none":
            if self.now - asked.step_at >= 15 * MINUTE and not asked.alarmed:
                asked.alarmed, asked.struck, asked.looked = True, False, self.now
        elif asked.paused or asked.road == "pilot" or self.frozen(number):
            asked.struck = False
        elif not self.still_earned(asked):
            asked.struck, asked.paused = False, True
        else:
            asked.struck = False
            if asked.step + 1 == asked.steps:
                self.make_live(number)
            else:
                asked.step, asked.step_at, asked.alarmed = asked.step + 1, self.now, False
                self._used(number)
                self._move("pilot_widened")

    def still_earned(self, asked: Asked) -> bool:
        """A pilot goes on by the decision that opened it, while that is worth something."""
        if asked.standing is not None:
            return self.fits(asked, self.makers(asked))
        return self.quorum(asked, asked.opened_at, self.makers(asked))

    # -- going back -------------------------------------------------------------------------------

    def roll_back(self) -> None:
        bad, target = self.live, self.known_good
        assert target is not None
        self.close_pilot()
        self._move("rollback", target)
        for asked in self.asked:
            if asked.state == "live":
                asked.state = "rolled_back" if asked.release == bad else "superseded"
        again = [
            one
            for one in self.asked
            if one.release == target and one.state == "superseded" and not self.unratified(one)
        ]
        if again:
            max(again, key=lambda one: one.live_at).state = "live"
        self.mortems.append(Mortem())
