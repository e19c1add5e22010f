"""What the frame around every page needs: theme, navigation with its counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from governance.people.models import User
from governance.receipts.models import RollUp
from governance.rollouts.models import PostMortem, Promotion
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow


@dataclass(frozen=True, slots=True)
class Item:
    """One place in the navigation; `tab` items stand in the bar at the bottom of a phone."""

    name: str
    url: str
    label: str
    icon: str
    current: bool
    tab: bool = False
    count: int = 0
    count_word: str = ""
    due: bool = False


# URL name, words, icon, which pages belong to it, on the phone's bar
PLACES = (
    ("home", "Review", "calendar", ("review",), True),
    (
        "promotions",
        "Decisions",
        "git-pull-request-arrow",
        ("promotion", "gate-report", "evidence"),
        True,
    ),
    ("exceptions", "Exceptions", "inbox", ("exception",), True),
    ("workflows", "Workflows", "workflow", ("workflow", "rollback"), True),
    (
        "controls",
        "Controls",
        "sliders-horizontal",
        ("control", "standing", "freeze", "delegation", "absence", "drill"),
        False,
    ),
    ("releases", "Releases", "rocket", ("release",), False),
    ("post-mortems", "Post-mortems", "history", ("post-mortem",), False),
    (
        "evals",
        "Evals",
        "shield-check",
        ("eval", "suite", "scoring", "policies", "planner", "bake-off"),
        False,
    ),
    ("receipts", "Run receipts", "receipt-text", ("receipt",), False),
    ("audit", "Audit log", "scroll-text", ("audit", "signature"), False),
    ("jobs", "Jobs", "list-checks", ("job",), False),
)
FOR_ADMINS = (
    ("people", "People", "users", ("person",), False),
    ("tokens", "Tokens", "key-round", ("token",), False),
)


def frame(request: HttpRequest) -> dict[str, Any]:
    """The theme, and the navigation, which is made only where a template asks for it."""
    theme = request.COOKIES.get("theme", "")
    found: dict[str, Any] = {"theme": theme if theme in ("light", "dark") else ""}
    user: User | None = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        counts = SimpleLazyObject(lambda: _counts(user))
        found["navigation"] = SimpleLazyObject(lambda: _navigation(request, user, counts))
        found["data_complete_to"] = SimpleLazyObject(lambda: _complete_to(counts["newest"]))
    return found


def _counts(user: User) -> dict[str, Any]:
    """Everything the frame counts, in one query."""
    unfinished = PostMortem.objects.visible_to(user).unfinished()
    emergencies = Promotion.objects.visible_to(user).filter(
        road=Promotion.Road.EMERGENCY, state=Promotion.State.LIVE, ratified_at=None
    )
    # Backwards along the index until the first row; a Max would read every hour there is.
    newest = (
        RollUp.objects.filter(
            grain=RollUp.Grain.HOUR, workflow__in=Workflow.objects.visible_to(user)
        )
        .order_by("-starts_at")
        .values("starts_at")[:1]
    )
    found = User.objects.values(
        decisions=_counted(Promotion.objects.visible_to(user).waiting()),
        exceptions=_counted(ExceptionCase.objects.visible_to(user).open()),
        emergencies=_counted(emergencies),
        unfinished=_counted(unfinished),
        overdue=_counted(unfinished.filter(due_at__lt=Now())),
        newest=Subquery(newest),
    ).get(pk=user.pk)
    return dict(found)


def _counted(rows: QuerySet[Any]) -> Coalesce:
    one = rows.order_by().annotate(whole=Value(1)).values("whole")
    return Coalesce(Subquery(one.annotate(number=Count("pk")).values("number")), 0)


def _complete_to(newest: datetime | None) -> str:
    """The hour before the newest one with receipts is closed; that one is still filling."""
    return f"{newest:%a} {newest.day} {newest:%b %Y %H:%M} UTC" if newest else ""


def _navigation(request: HttpRequest, user: User, counts: Any) -> list[Item]:
    match = request.resolver_match
    here = (match.url_name or "") if match else ""
    numbers = {
        "promotions": (counts["decisions"], "waiting for a decision", False),
        "exceptions": (counts["exceptions"], "open", False),
        "controls": (counts["emergencies"], "waiting to be ratified", True),
        "post-mortems": (counts["unfinished"], "unfinished", counts["overdue"] > 0),
    }
    places = PLACES + (FOR_ADMINS if user.role == User.Role.ADMIN else ())
    return [
        Item(
            name, reverse(name), label, icon,
            here == name or here.startswith(parts),
            tab, *numbers.get(name, (0, "", False)),
        )
        for name, label, icon, parts, tab in places
    ]  # fmt: skip
