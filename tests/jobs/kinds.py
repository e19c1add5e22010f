"""Kinds of work that exist in tests only. Imported by the tests and by their real worker."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from governance import audit
from governance.audit import Actor
from governance.jobs.kinds import job_kind
from governance.jobs.services import Claim

CALLS: list[str] = []


@job_kind("tests.note")
def note(claim: Claim) -> None:
    CALLS.append(claim.slot)


@job_kind("tests.fail")
def fail(claim: Claim) -> None:
    raise ValueError("no luck today")


@job_kind("tests.two_steps", lease=timedelta(seconds=1))
def two_steps(claim: Claim) -> None:
    """Say that it began, wait to be allowed on, then write one effect under the claim."""
    folder = Path(claim.payload["folder"])
    (folder / f"began-{claim.fence}").write_text(str(os.getpid()))
    while not (folder / "go").exists():
        time.sleep(0.02)
    with audit.atomic():
        claim.hold()
        audit.record("demo.seeded", actor=Actor.system("tests"), reason=claim.slot)
