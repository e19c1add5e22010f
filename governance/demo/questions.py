"""What is open when the demo begins: receipts that somebody must look at, and a note to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from governance.common.time import story_time
from governance.demo.cast import Cast
from governance.demo.past_runs import PastRuns
from governance.demo.support.library import INJECTION, ORDINARY, Library, Message
from governance.demo.support.target import router_for
from governance.demo.support.traffic import Arrival, case_id
from governance.demo.waiting_work import finish_waiting_jobs
from governance.kpis import services as kpis
from governance.kpis.models import Kpi
from governance.releases.models import Release

EVERY = timedelta(minutes=4)


def open_questions(
    cast: Cast,
    runs: PastRuns,
    library: Library,
    release: Callable[[str], Release],
    end: datetime,
) -> None:
    """Leave real runs behind that the exception queue has to show.

    An old process still answers a second mailbox with the router as it was found, and does not
    say which release it runs; among its mails are attacks. And somebody tried the release that
    the gate refused on a few real mails.
    """
    mails = library.hold_out()
    ordinary = mails[:: max(1, len(mails) // 10)][:6]
    old = router_for({slot: c for slot, c in release("as-found").contents().items() if c})
    attacks = [m for m in mails if m.kind == INJECTION and old.decide(m.text).violations]
    runs.run(release("as-found"), _arrivals([*ordinary, *attacks], end, 7_000), claim="none")
    runs.run(release("fewer-escalations"), _arrivals(mails[3:7], end, 8_000))
    with story_time(end):
        finish_waiting_jobs()
        owner = cast["head-of-support"]
        monday = end.date() - timedelta(days=end.weekday())
        lead = Kpi.objects.get(workflow=cast.workflow, is_lead=True)
        kpis.write_note(
            lead.pk, monday, actor=owner,
            text="Above target since we hand over more on purpose. The release that waits for me"
            " should bring it down; I want to see silent errors first.",
        )  # fmt: skip


def second_mailbox(runs: PastRuns, library: Library, release: Release, moment: datetime) -> None:
    """Run a few mails whose receipts do not say which release answered them."""
    mails = [mail for mail in library.hold_out() if mail.kind == ORDINARY][10:15]
    runs.run(release, _arrivals(mails, moment, 6_000), claim="none")


def _arrivals(mails: Sequence[Message], end: datetime, number: int) -> list[Arrival]:
    """Let these mails arrive one after the other, the last one before `end`."""
    first = end - EVERY * (len(mails) + 5)
    moments = [first + EVERY * position for position in range(len(mails))]
    return [
        Arrival(moment, case_id(moment.date(), number + position, mail), mail)
        for position, (moment, mail) in enumerate(zip(moments, mails, strict=True))
    ]
