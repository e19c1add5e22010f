"""What the demo states instead of measuring: prices, and how long a person takes to answer."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

CURRENCY = "USD"
CPU_SECOND_PRICE = Decimal("0.000034")  # USD per CPU second: a small cloud machine by the hour
ESCALATION_PRICE = Decimal("4.20")  # USD: about six minutes of a help desk agent, all costs in
GATEWAY_SECONDS = 45.0  # the mail gateway takes this long to fetch and to deliver

# Opening hours (UTC) per weekday, Monday first; None is closed.
OPENING: tuple[tuple[time, time] | None, ...] = (
    (time(8), time(18)),
    (time(8), time(18)),
    (time(8), time(18)),
    (time(8), time(18)),
    (time(8), time(17)),
    (time(9), time(13)),
    None,
)
# Minutes until somebody picks a mail up, by hour of the day: mornings carry the night's mail.
QUEUE_MINUTES = {8: 55, 9: 48, 10: 36, 11: 28, 12: 34, 13: 30, 14: 24, 15: 22, 16: 20, 17: 26}
MONDAY_FACTOR = 1.6  # a weekend of mail waits
BACKLOG_MINUTES = 40.0  # mail that came in closed hours, after the doors open


def cost_of(cpu_seconds: float, *, escalated: bool) -> Decimal:
    """Return USD: measured compute, plus the price of a person where one is needed."""
    compute = Decimal(repr(round(max(cpu_seconds, 0.0), 9))) * CPU_SECOND_PRICE
    return (compute + (ESCALATION_PRICE if escalated else 0)).quantize(Decimal("0.00000001"))


def first_response_seconds(
    received_at: datetime, key: str, *, escalated: bool, latency_ms: float
) -> float:
    """Return seconds from the mail's arrival to the first answer.

    An automatic answer takes what it took plus the mail gateway. A mail for a person waits for
    the opening hours and the queue of that hour, spread by ±40 % according to its key.
    """
    if not escalated:
        return round(GATEWAY_SECONDS + latency_ms / 1000, 3)
    moment = received_at.astimezone(UTC)
    opens = next_opening(moment)
    if opens == moment:
        wait = QUEUE_MINUTES.get(moment.hour, 30) * _monday(moment)
    else:
        wait = BACKLOG_MINUTES * _monday(opens)
    spread = 0.6 + 0.8 * int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) / 2**32
    return round((opens - moment).total_seconds() + wait * 60 * spread + GATEWAY_SECONDS, 3)


def next_opening(moment: datetime) -> datetime:
    """Return `moment` when the help desk is open, else the next time that it opens (UTC)."""
    for ahead in range(8):
        day = (moment + timedelta(days=ahead)).date()
        hours = OPENING[day.weekday()]
        if hours is None:
            continue
        opens = datetime.combine(day, hours[0], UTC)
        closes = datetime.combine(day, hours[1], UTC)
        if moment < closes:
            return max(moment, opens)
    raise AssertionError("A help desk that never opens.")


def _monday(moment: datetime) -> float:
    return MONDAY_FACTOR if moment.weekday() == 0 and moment.hour < 12 else 1.0
