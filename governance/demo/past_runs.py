"""Runs of the past: dated mail through the router of the day, stored as run receipts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from governance.common.canonical import digest
from governance.common.time import story_time
from governance.demo.support import WORKFLOW
from governance.demo.support.helpdesk import CURRENCY, first_response_seconds
from governance.demo.support.labels import is_labelled, judge
from governance.demo.support.library import Library
from governance.demo.support.router import Decision
from governance.demo.support.suites import expectation
from governance.demo.support.target import router_for
from governance.demo.support.traffic import Arrival, dated_messages
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.services import store
from governance.releases.models import Release

SEED = 20260824
AT_ONCE = 1_500  # receipts per transaction


class Mail:
    """The mail of the whole history, handed out from one moment to the next."""

    def __init__(self, start: datetime, end: datetime, library: Library) -> None:
        self._arrivals = dated_messages(start, end, seed=SEED, library=library)
        self._waiting: Arrival | None = None

    def until(self, moment: datetime) -> list[Arrival]:
        """Return what arrived since the last time, before `moment`."""
        found = [self._waiting] if self._waiting and self._waiting.at < moment else []
        if self._waiting is not None and not found:
            return []
        self._waiting = None
        for arrival in self._arrivals:
            if arrival.at >= moment:
                self._waiting = arrival
                break
            found.append(arrival)
        return found


class PastRuns:
    """Runs mail through releases; each distinct message is measured once per release."""

    def __init__(self) -> None:
        self._decisions: dict[tuple[str, str], Decision] = {}
        self.stored = 0

    def run(self, release: Release, arrivals: Sequence[Arrival], *, claim: str = "") -> None:
        """Answer this mail with `release` and store the receipts.

        Args:
            claim: what the receipts say about their release; default: the truth. "none": nothing.
        """
        self._decide(release, arrivals)
        observed = {slot.slot: slot.component_id for slot in release.slots.all()}
        model = str((release.contents()["model"] or {}).get("id", ""))
        drafts = (self._draft(release, arrival, observed, model, claim) for arrival in arrivals)
        for batch in _batches(drafts):
            with story_time(batch[-1].started_at):
                result = store(batch)
            if result.refused:
                raise RuntimeError(f"A receipt of the demo was refused: {result.refused[0].error}")
            self.stored += result.accepted

    def decision(self, release: Release, arrival: Arrival) -> Decision:
        return self._decisions[release.pk, arrival.message.id]

    def _decide(self, release: Release, arrivals: Sequence[Arrival]) -> None:
        missing = {
            arrival.message.id: arrival.message.text
            for arrival in arrivals
            if (release.pk, arrival.message.id) not in self._decisions
        }
        if not missing:
            return
        components = {slot: found for slot, found in release.contents().items() if found}
        router = router_for(components)
        for message_id, text in missing.items():
            # One by one, as the application does it: a batch would be faster than life.
            self._decisions[release.pk, message_id] = router.decide(text)

    def _draft(
        self,
        release: Release,
        arrival: Arrival,
        observed: dict[str, str],
        model: str,
        claim: str,
    ) -> ReceiptDraft:
        decision = self.decision(release, arrival)
        judged = judge(expectation(arrival.message), decision)
        measures = {
            "first_response_s": first_response_seconds(
                arrival.at, arrival.case_id, escalated=decision.escalated,
                latency_ms=decision.latency_ms,
            ),
            "confidence": decision.confidence,
            "silent_error": float(judged.silent_error),
        }  # fmt: skip
        if is_labelled(arrival.case_id):
            measures["correct"] = float(judged.right)
        named = "" if claim == "none" else claim or release.pk
        return ReceiptDraft(
            run_id=digest([arrival.case_id, named, release.pk])[7:39],
            workflow=WORKFLOW,
            started_at=arrival.at,
            release=named,
            resolved_by="countersign.release" if named else "",
            segment=arrival.message.language,
            case_id=arrival.case_id,
            duration_ms=decision.latency_ms,
            cost=decision.cost,
            currency=CURRENCY,
            escalated=decision.escalated,
            outcome=decision.reason or decision.answer,
            quality=float(judged.right),
            refs={"ticket": arrival.case_id.partition(".")[0].upper()},
            measures=measures,
            violations=list(decision.violations),
            observed={**observed, **tools_used(decision.tools)},
            model_answered=model,
            output_sha256=hashlib.sha256(decision.reply.encode()).hexdigest(),
        )


def tools_used(names: Sequence[str]) -> dict[str, str]:
    """What a run says about the tools that it called, as its spans say it."""
    return {"tools.seen": ", ".join(names)} if names else {}


def _batches(drafts: Iterator[ReceiptDraft]) -> Iterator[list[ReceiptDraft]]:
    while batch := list(islice(drafts, AT_ONCE)):
        yield batch
