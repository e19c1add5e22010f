"""`{{ text|reveal }}`: text from receipts and evals, with hidden characters shown."""

from __future__ import annotations

from typing import Any

from django import template

from dashboards import hostile

register = template.Library()


@register.filter
def reveal(text: object) -> str:
    """Plain text, so the template escapes it like any other."""
    return hostile.reveal(text)


@register.filter
def reveal_json(value: Any) -> str:
    return hostile.reveal_json(value)
