"""A rollback's proof in the order in which it happened: clicked, served, last bad receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboards.tones import Chip
from governance.common.time import now
from governance.rollouts.convergence import Application, Proof, proof
from governance.rollouts.models import Rollback
from governance.workflows.models import Workflow

REFRESHED_FOR = timedelta(minutes=10)
OFTEN_FOR = timedelta(minutes=2)

APPLICATION: dict[str, Chip] = {
    "confirmed": Chip("Confirmed", "good", "circle-check"),
    "silent": Chip("Silent", "watch", "diamond"),
    "wrong": Chip("Still on the bad release", "bad", "triangle-alert"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One fact of the proof: a word, and a moment or a text."""

    word: str
    at: datetime | None = None
    tenths: bool = False
    text: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One application in the table."""

    application: Application
    chip: Chip


@dataclass(frozen=True, slots=True)
class ProofView:
    """What the template prints about one rollback."""

    state: Chip
    sentence: str
    steps: tuple[Step, ...]
    lines: tuple[Line, ...]
    proof: Proof
    refresh_seconds: int  # 0: it does not refresh any more


def view_of(rollback: Rollback) -> ProofView:
    """Read the proof and put it into words."""
    found = proof(rollback)
    waits = not found.is_complete and now() < found.watched_until
    age = now() - found.served_at
    seconds = 0
    if waits and age < REFRESHED_FOR:
        seconds = 2 if age < OFTEN_FOR else 10
    state, sentence = _state(rollback, found)
    return ProofView(
        state=state,
        sentence=sentence,
        steps=tuple(_steps(rollback, found)),
        lines=tuple(Line(one, APPLICATION[one.state]) for one in found.applications),
        proof=found,
        refresh_seconds=seconds,
    )


def _steps(rollback: Rollback, found: Proof) -> list[Step]:
    bad = rollback.from_release.name
    steps = []
    if found.clicked_at is not None:
        steps.append(Step("clicked", found.clicked_at))
        steps.append(Step("served", found.served_at, tenths=True))
    else:
        steps.append(Step("rolled back", found.served_at))
    if found.last_bad_receipt_at is not None:
        steps.append(Step(f"last receipt on {bad}", found.last_bad_receipt_at))
    else:
        steps.append(Step(f"last receipt on {bad}", text="none in the day before"))
    steps.append(
        Step(
            f"runs started on {bad} since", text=f"{found.bad_since:,}",
            tone="worse" if found.bad_since else "better",
        )
    )  # fmt: skip
    steps.append(Step("applications", text=counted(found, bad)))
    return steps


def counted(found: Proof, bad: str) -> str:
    """3 confirmed, 1 silent."""
    if not found.applications:
        return "none sent receipts"
    parts = [
        f"{found.count('confirmed')} confirmed",
        f"{found.count('silent')} silent" if found.count("silent") else "",
        f"{found.count('wrong')} still on {bad}" if found.count("wrong") else "",
    ]
    return ", ".join(part for part in parts if part)


def _state(rollback: Rollback, found: Proof) -> tuple[Chip, str]:
    target, bad = rollback.to_release.name, rollback.from_release.name
    total = len(found.applications)
    observe = rollback.workflow.mode == Workflow.Mode.OBSERVE
    if not total:
        return (
            Chip("Not proved", "none", "circle-dashed"),
            "No application sent a run receipt in the day before or after, so receipts prove"
            " nothing.",
        )
    if found.is_complete:
        return (
            Chip("Converged", "good", "circle-check"),
            f"{_all(found.applications)} confirmed with run receipts on {target}.",
        )
    if found.count("wrong"):
        wrong = found.count("wrong")
        return (
            Chip(f"Still on {bad}", "bad", "triangle-alert"),
            f"{wrong} of {total} application{_s(total)} ran {bad} after it was rolled back."
            + ("" if observe else " Look at what it caches, or switch it off."),
        )
    over = now() >= found.watched_until
    silent = found.count("silent")
    return (
        Chip("Not all confirmed" if over else "Waiting for receipts", "watch", "diamond"),
        f"{silent} of {total} application{_s(total)} sent no run receipt on {target} since."
        " Silence is not proof: it may be idle, or not have asked.",
    )


def _all(applications: Sequence[Application]) -> str:
    return "The one application" if len(applications) == 1 else f"All {len(applications)}"


def _s(number: int) -> str:
    return "" if number == 1 else "s"
