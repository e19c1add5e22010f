"""Proving that a list of live changes lacks none, and drawing the same sample again. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

SEED_VERSION = "countersign.sample.v1"


@dataclass(frozen=True, slots=True)
class Link:
    """What one change of a live pointer says about its place in the history."""

    seq: int
    left: str  # digest of what was live before it; empty for the first one
    came: str  # digest of what is live after it
    at: datetime


@dataclass(frozen=True, slots=True)
class Pointer:
    """What is live now."""

    seq: int
    release: str


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether the changes of one workflow in a period are all of them, in words."""

    workflow: str  # slug
    name: str
    changes: int
    faults: tuple[str, ...]
    sentence: str

    @property
    def holds(self) -> bool:
        return not self.faults


def prove(
    workflow: str,
    name: str,
    links: Sequence[Link],
    *,
    before: Link | None,
    after: Link | None,
    live: Pointer | None,
) -> Proof:
    """Look at the numbers and at both ends of every change.

    Args:
        links: the changes of the period, by seq.
        before, after: the neighbours of the period, where there are any.
        live: what is live now; it must be what the newest change left.
    """
    chain = [link for link in (before, *links, after) if link is not None]
    faults: list[str] = []
    previous: Link | None = None
    for link in chain:
        if link is not before:  # what stands before the period is a beginning, not a claim
            faults.extend(_faults(link, previous))
        previous = link
    if after is None:
        faults.extend(_end(previous, live))
    return Proof(workflow, name, len(links), tuple(faults), _sentence(links, before, after, faults))


def _faults(link: Link, previous: Link | None) -> Iterable[str]:
    if previous is None:
        if link.seq != 1:
            yield f"The history begins with change {link.seq}; {_missing(1, link.seq - 1)}."
        elif link.left:
            yield "Change 1 names a release before it, and there is no change that made it live."
        return
    if link.seq != previous.seq + 1:
        yield (
            f"Change {link.seq} follows change {previous.seq};"
            f" {_missing(previous.seq + 1, link.seq - 1)}."
        )
    if link.left != previous.came:
        yield (
            f"Change {link.seq} begins with another release than change {previous.seq} left:"
            f" {_short(link.left)} against {_short(previous.came)}."
        )
    if link.at < previous.at:
        yield f"Change {link.seq} is dated before change {previous.seq}."


def _missing(first: int, last: int) -> str:
    if first > last:
        return "the numbers do not grow by one"
    return f"change {first} is missing" if first == last else f"{first} to {last} are missing"


def _end(last: Link | None, live: Pointer | None) -> Iterable[str]:
    """The newest change of all must have left what is live now."""
    if last is None and live is None:
        return
    if last is None and live is not None:
        yield f"{_short(live.release)} is live, and no change made it so."
    elif last is not None and live is None:
        yield f"Change {last.seq} made a release live, and nothing is live now."
    elif (
        last is not None
        and live is not None
        and (last.seq, last.came)
        != (
            live.seq,
            live.release,
        )
    ):
        yield (
            f"What is live now ({_short(live.release)}, change {live.seq}) is not what the newest"
            f" change left ({_short(last.came)}, change {last.seq})."
        )


def _short(digest: str) -> str:
    return f"{digest[:15]}…" if digest else "nothing"


def _sentence(
    links: Sequence[Link], before: Link | None, after: Link | None, faults: Sequence[str]
) -> str:
    if faults:
        places = f"{len(faults)} place{'s' if len(faults) > 1 else ''}"
        return f"The history does not hold in {places}. Do not rely on this list."
    if not links:
        if before is None:
            return "No change: nothing had been made live."
        until = "" if after is None else f", until change {after.seq}"
        return f"No change: what change {before.seq} had left was live all through{until}."
    if len(links) == 1:
        count = f"1 change, number {links[0].seq}"
    else:
        count = f"{len(links)} changes, numbers {links[0].seq} to {links[-1].seq} without a gap"
    start = (
        "it is the first one of this workflow"
        if before is None and len(links) == 1
        else "the first one is the first of this workflow"
        if before is None
        else f"it begins with what change {before.seq} had left"
    )
    middle = (
        "" if len(links) == 1 else ", each begins with the release that the one before had left"
    )
    end = (
        "what the newest one left is live now"
        if after is None
        else f"change {after.seq} follows on it"
    )
    return f"{count}: {start}{middle}, and {end}."


def seed_for(first: date, last: date, workflow: str, number: int) -> str:
    """Return the seed of a sample: anybody who knows period, workflow and number can write it."""
    return f"{SEED_VERSION}|{first.isoformat()}|{last.isoformat()}|{workflow or '*'}|{number}"


def sample_key(seed: str, workflow: str, seq: int) -> str:
    """Return the hash by which a change is drawn: SHA-256 over `seed|workflow|seq`, in hex."""
    return hashlib.sha256(f"{seed}|{workflow}|{seq}".encode()).hexdigest()


def draw(members: Iterable[tuple[str, int]], size: int, seed: str) -> list[tuple[str, int]]:
    """Return `size` members, those with the smallest keys, in the order of their keys.

    Args:
        members: (workflow slug, seq) of every change of the population.
    """
    return sorted(members, key=lambda member: sample_key(seed, *member))[: max(size, 0)]
