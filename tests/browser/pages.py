"""Where each page is; those about one thing are found through the page that lists it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.browser.conftest import Visit

# name -> path, or (listing, pattern of the first link to follow)
PAGES: dict[str, str | tuple[str, ...]] = {
    "weekly": "/",
    "monthly": ("/", r"/reviews/monthly/[^/\"]+/"),
    "quarterly": ("/", r"/reviews/quarterly/[^/\"]+/"),
    "workflows": "/workflows/",
    "workflow": "/workflows/support-triage/",
    "emergency change": "/workflows/support-triage/emergency/",
    "controls": "/controls/",
    "standing approvals": "/controls/standing/",
    "freezes": "/controls/freezes/",
    "delegations": "/controls/delegations/",
    "roll back": "/workflows/support-triage/roll-back/",
    "releases": "/releases/",
    "release": ("/releases/", r"/releases/sha256:[0-9a-f]{64}/"),
    "compare": (
        "/promotions/",
        r"/promotions/\d+/",
        r"/releases/sha256:[0-9a-f]{64}/compare/sha256:[0-9a-f]{64}/",
    ),
    "promotions": "/promotions/",
    "promotion": ("/promotions/", r"/promotions/\d+/"),
    "a decided promotion": ("/promotions/?state=rolled_back", r"/promotions/\d+/"),
    "evals": "/evals/",
    "bake-offs": "/evals/bake-offs/support-triage/",
    "eval run": ("/evals/", r"/evals/runs/\d+/"),
    "exceptions": "/exceptions/",
    "receipts": "/receipts/",
    "receipt": ("/receipts/", r"/receipts/\d{4}-\d\d-\d\d/[^/\"?]+/"),
    "post-mortems": "/post-mortems/",
    "post-mortem": ("/post-mortems/", r"/post-mortems/\d+/"),
    "recall list": (
        "/post-mortems/",
        r"/post-mortems/\d+/",
        r"/post-mortems/\d+/recall/(?:\?[^\"]*)?",
    ),
    "rollback": ("/workflows/support-triage/", r"/rollbacks/\d+/"),
    "drills": "/drills/",
    "audit": "/audit/",
    "audit event": ("/audit/", r"/audit/\d+/"),
    "checkpoints": "/audit/checkpoints/",
    "population": "/audit/population/?from=2026-01-01&to=2027-12-31&size=2&number=7",
    "evidence of a period": "/audit/evidence/",
    "evidence of a promotion": (
        "/promotions/?state=rolled_back",
        r"/promotions/\d+/",
        r"/promotions/\d+/evidence/",
    ),
    "signature": (
        "/audit/population/?from=2026-01-01&to=2027-12-31",
        r"/signatures/sha256:[0-9a-f]{64}/",
    ),
    "jobs": "/jobs/",
}


def paths(visit: Visit) -> dict[str, str]:
    """Return the path of every page, following links where needed."""
    return {name: find(visit, where) for name, where in PAGES.items()}


def find(visit: Visit, where: str | tuple[str, ...]) -> str:
    if isinstance(where, str):
        return where
    path, *patterns = where
    for pattern in patterns:
        body = visit.page.request.get(visit.url + path).text()
        match = re.search(rf'href="({pattern})"', body)
        assert match, f"no link like {pattern} on {path}"
        path = match.group(1)
    return path
