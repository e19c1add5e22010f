"""System checks: a wrong setting refuses to start, with one clear sentence."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from governance.common import outbound

SHORTEST_SECRET = 40
SHORTEST_RETENTION = 30  # days; the database refuses to drop anything younger


@register()
def settings_are_whole(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse to start on a setting that would fail later."""
    found: list[CheckMessage] = []
    if not settings.DATABASES.get("default", {}).get("NAME"):
        found.append(
            Error(
                "No database. Start one with `make up`, or set DATABASE_URL.",
                id="countersign.E001",
            )
        )
    if len(settings.SECRET_KEY) < SHORTEST_SECRET:
        found.append(
            Error(
                f"SECRET_KEY must have at least {SHORTEST_SECRET} characters.",
                id="countersign.E002",
            )
        )
    if not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS:
        found.append(
            Error(
                "ALLOWED_HOSTS must name the hosts that people type, and not '*'.",
                id="countersign.E003",
            )
        )
    if settings.REDIS_URL and urlsplit(settings.REDIS_URL).scheme not in (
        "redis",
        "rediss",
        "unix",
        "redis+socket",
    ):
        found.append(
            Error(
                "REDIS_URL must start with redis://, rediss:// or redis+socket://.",
                id="countersign.E004",
            )
        )
    found.extend(_ways_to_log_in())
    found.extend(_data_protection())
    named = [("EVAL_TARGETS", *pair) for pair in settings.EVAL_TARGETS.items()]
    named += [("EVAL_CASE_SOURCES", *pair) for pair in settings.EVAL_CASE_SOURCES.items()]
    for setting, slug, dotted in named:
        module, _, _ = dotted.rpartition(".")
        try:
            exists = bool(module) and importlib.util.find_spec(module) is not None
        except ImportError:
            exists = False
        if not exists:
            found.append(
                Error(
                    f"{setting} names {dotted!r} for {slug}; there is no such module.",
                    id="countersign.E005",
                )
            )
    for origin in settings.OUTBOUND_ALLOWED:
        try:
            outbound.check_url(origin, allowed=[origin])
        except outbound.RefusedAddressError as refusal:
            found.append(
                Error(f"OUTBOUND_ALLOWED names {origin!r}: {refusal}", id="countersign.E020")
            )
    return found


def _data_protection() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for pattern in settings.REDACT_PATTERNS:
        try:
            re.compile(pattern)
        except re.error as error:
            found.append(
                Error(
                    f"REDACT_PATTERNS: {pattern!r} is no regular expression ({error}).",
                    id="countersign.E009",
                )
            )
    for name in ("RECEIPT_DAYS", "SPAN_DAYS"):
        if 0 < getattr(settings, name) < SHORTEST_RETENTION:
            found.append(
                Error(
                    f"{name} must be 0 (keep) or at least {SHORTEST_RETENTION}.",
                    id="countersign.E010",
                )
            )
    return found


def _ways_to_log_in() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.MFA not in ("off", "optional", "required"):
        found.append(
            Error(
                f"MFA must be off, optional or required, not {settings.MFA!r}.",
                id="countersign.E006",
            )
        )
    if not settings.OIDC_ISSUER:
        return found
    if not (settings.OIDC_CLIENT_ID and settings.OIDC_CLIENT_SECRET):
        found.append(
            Error("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET.", id="countersign.E007")
        )
    for name in ("OIDC_ISSUER", "OIDC_LOGIN_ORIGIN"):
        parts = urlsplit(getattr(settings, name))
        is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if getattr(settings, name) and parts.scheme != "https" and not is_local:
            found.append(Error(f"{name} must start with https://.", id="countersign.E008"))
    return found
