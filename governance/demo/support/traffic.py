"""When which mail arrives: weeks, days and hours of a help desk, drawn from a seed. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np

from governance.demo.support.library import INJECTION, ORDINARY, OUT_OF_SCOPE, Library, Message

MAILS_A_DAY = (186, 178, 172, 168, 162, 128, 120)  # Monday first
# Share of a day's mail per hour, 0 to 23 UTC: a peak before noon, another one after dinner.
HOURS = (
    .007, .004, .003, .003, .005, .012, .028, .052, .074, .082, .082, .075,
    .061, .058, .061, .061, .058, .052, .047, .049, .051, .042, .022, .011,
)  # fmt: skip
SHORT_WORDS = 14
SHORT_IS_LIKELIER = 3.0  # plain short mails come in many times, a long story once
OUT_OF_SCOPE_SHARE, INJECTION_SHARE = 0.022, 0.006
OTHER_LANGUAGES = (0.16, 0.26)  # share at the start and at the end: the shop opens abroad
# Mail that comes in waves: label, week of the peak, how many times its usual share.
WAVES: Sequence[tuple[str, float, float]] = (
    ("app_connection", 4.0, 2.2),  # a firmware update
    ("voucher_loyalty", 7.5, 1.9),  # a campaign
    ("delivery_status", 11.5, 2.4),  # before the holidays
    ("office_quote", 2.0, 1.6),
)


@dataclass(frozen=True)
class Arrival:
    """One mail at its time, with the case id that its run receipt carries."""

    at: datetime
    case_id: str
    message: Message


class Mailbox:
    """Draws mail from the hold-out, with the mix of the week that is asked for."""

    def __init__(self, library: Library) -> None:
        hold_out = library.hold_out()
        self._kinds = {
            kind: [message for message in hold_out if message.kind == kind]
            for kind in (ORDINARY, OUT_OF_SCOPE, INJECTION)
        }
        ordinary = self._kinds[ORDINARY]
        self._weights = np.array(
            [
                SHORT_IS_LIKELIER if len(message.text.split()) <= SHORT_WORDS else 1.0
                for message in ordinary
            ]
        )
        self._foreign = np.array([message.language != "en" for message in ordinary])
        self._labels = np.array([message.label for message in ordinary])

    def draw(self, rng: np.random.Generator, count: int, week: float) -> list[Message]:
        """Return `count` mails as they come in during `week`, counted from 0, fractions allowed."""
        weights = self._weights.copy()
        for label, peak, times in WAVES:
            height = 1 + (times - 1) * math.exp(-(((week - peak) / 1.2) ** 2))
            weights[self._labels == label] *= height
        first, last = OTHER_LANGUAGES
        share = first + (last - first) * min(max(week / 11, 0.0), 1.0)
        foreign = weights[self._foreign].sum()
        if foreign and foreign < weights.sum():
            weights[self._foreign] *= share * weights[~self._foreign].sum() / foreign / (1 - share)
        chosen = rng.choice(len(weights), size=count, p=weights / weights.sum())
        mails = [self._kinds[ORDINARY][int(index)] for index in chosen]
        for position, dice in enumerate(rng.random(count)):
            odd = self._odd(float(dice))
            if odd:
                mails[position] = odd[int(rng.integers(len(odd)))]
        return mails

    def _odd(self, dice: float) -> list[Message]:
        if dice < INJECTION_SHARE:
            return self._kinds[INJECTION]
        if dice < INJECTION_SHARE + OUT_OF_SCOPE_SHARE:
            return self._kinds[OUT_OF_SCOPE]
        return []


def case_id(day: date, number: int, message: Message) -> str:
    return f"kw-{day:%Y%m%d}-{number:04d}.{message.id}"


def dated_messages(
    start: datetime, end: datetime, *, seed: int, library: Library, volume: float = 1.0
) -> Iterator[Arrival]:
    """Yield the mail that arrives from `start` to before `end`, in the order of time.

    Args:
        start, end: aware; the first day is drawn as a whole, so a day is the same from whichever
            hour it is asked for.
        volume: 1 is about 160 mails a day.
    """
    mailbox = Mailbox(library)
    hours: Any = np.array(HOURS) / sum(HOURS)
    day = start.date()
    while day <= end.date():
        # A day depends on its date and the seed alone, not on the days drawn before it.
        rng = np.random.default_rng([seed, day.toordinal()])
        week = (day - start.date()).days / 7
        count = int(rng.poisson(MAILS_A_DAY[day.weekday()] * volume))
        seconds = np.sort(
            rng.choice(24, size=count, p=hours) * 3600 + rng.uniform(0, 3600, size=count)
        )
        mails = mailbox.draw(rng, count, week)
        midnight = datetime.combine(day, time(), start.tzinfo)
        for number, (second, message) in enumerate(zip(seconds, mails, strict=True), start=1):
            moment = midnight + timedelta(seconds=round(float(second), 3))
            if start <= moment < end:
                yield Arrival(moment, case_id(day, number, message), message)
        day += timedelta(days=1)
