"""`{% ways_back %}`: the rollback, offered on every page that shows a workflow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboards.going_back import offers
from dashboards.numbers import NOT_MEASURED
from governance.workflows.models import Workflow

register = template.Library()


@register.inclusion_tag("dashboards/elements/ways_back.html", takes_context=True)
def ways_back(
    context: template.Context, workflow: Workflow | None = None, slug: str = ""
) -> dict[str, Any]:
    """Offer the rollback of one workflow, of the one that `slug` names, or of all in sight."""
    chosen = [workflow.pk] if workflow is not None else None
    return {
        "offers": offers(context["request"].user, chosen, slug),
        "single": workflow is not None,
    }


@register.simple_tag
def clock(at: datetime | None, tenths: str = "") -> SafeString | str:
    """A time of day in UTC to the second, or to the tenth; the whole moment on hover."""
    if at is None:
        return NOT_MEASURED
    text = f"{at:%H:%M:%S}" + (f".{at.microsecond // 100_000}" if tenths else "")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        at.strftime("%Y-%m-%d %H:%M:%S.%f UTC"),
        text,
    )
