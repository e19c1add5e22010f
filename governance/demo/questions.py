"""What is open when the demo begins: receipts that somebody must look at, and a note to read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from governance.common.time import story_time
from governance.demo.cast import Cast
from governance.demo.past_runs import Mail, PastRuns
from governance.demo.waiting_work import finish_waiting_jobs
from governance.kpis import services as kpis
from governance.kpis.models import Kpi
from governance.releases.models import LiveRelease, Release

NAMELESS = 6  # runs of an old process that does not ask which release is live
UNAPPROVED = 4  # runs of the refused release that somebody started all the same


def open_questions(
    cast: Cast, runs: PastRuns, mail: Mail, release: Callable[[str], Release], end: datetime
) -> None:
    """Leave real runs behind that the exception queue has to show."""
    latest = list(mail.latest)
    live = LiveRelease.objects.select_related("release").get(workflow=cast.workflow).release
    runs.run(live, latest[-40 : -40 + NAMELESS], claim="none")
    runs.run(release("fewer-escalations"), latest[-24 : -24 + UNAPPROVED])
    with story_time(end - timedelta(minutes=1)):
        finish_waiting_jobs()
        owner = cast["head-of-support"]
        monday = end.date() - timedelta(days=end.weekday())
        lead = Kpi.objects.get(workflow=cast.workflow, is_lead=True)
        kpis.write_note(
            lead.pk, monday, actor=owner,
            text="Above target since we hand over more on purpose. The release that waits for me"
            " should bring it down; I want to see silent errors first.",
        )  # fmt: skip
