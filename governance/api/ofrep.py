"""OFREP: which release is live? Asked before every run, so one statement answers it.

The statement joins the token with the live rows it may see. Nothing else is needed to serve: no
session, no cache, no worker.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from governance.api import prepared, rate_limits
from governance.api.tokens import LAST_USED_EVERY, UnauthenticatedError, secret_of
from governance.common.canonical import parse_json
from governance.common.errors import GovernanceError, InvalidInputError, NotAllowedError
from governance.people.models import ApiToken
from governance.rollouts import assignment
from governance.rollouts.assignment import ALGORITHM, WHOLE
from governance.workflows.models import SLUG

SCOPE = ApiToken.Scope.RELEASES_READ.value
SWITCHED_OFF = "switched_off"  # stage and variant while the kill switch is on
LONGEST_CASE = 512  # characters
KEY = re.compile(rf"{SLUG}\Z")

# One row per live workflow; a token that may see none still comes back once, with NULLs. A pin is
# found by its unique key, so pinned cases cost one more index look-up and nothing else.
STATEMENT = """
SELECT token.id,
       token.revoked_at IS NULL AND (token.expires_at IS NULL OR now() < token.expires_at),
       %(scope)s = ANY (token.scopes),
       token.workflow_slug,
       token.last_used_at IS NULL OR token.last_used_at < now() - make_interval(secs => %(every)s),
       served.slug, served.authority, served.release_id, served.seq, served.stage,
       served.decided_at, served.pilot_release_id, served.pilot_share, served.pilot_salt,
       served.pilot_authority, served.switched_off, served.pinned, served.has_pins
FROM governance_apitoken token
LEFT JOIN (
    SELECT workflow.slug, workflow.authority,
           live.release_id, live.seq, live.stage, live.decided_at, live.pilot_release_id,
           live.pilot_share, live.pilot_salt, live.pilot_authority, live.switched_off,
           pin.release_id AS pinned,
           EXISTS (
               SELECT FROM governance_pin other WHERE other.workflow_id = live.workflow_id
           ) AS has_pins
    FROM governance_liverelease live
    JOIN governance_workflow workflow ON workflow.id = live.workflow_id
    LEFT JOIN governance_pin pin
        ON pin.workflow_id = live.workflow_id AND pin.targeting_key = %(case)s
    {where}
) served ON token.workflow_slug IN ('', served.slug)
WHERE token.token_hash = %(hash)s
ORDER BY served.slug
"""
ONE = STATEMENT.format(where="WHERE workflow.slug = %(key)s")
ALL = STATEMENT.format(where="")


@dataclass(frozen=True, slots=True)
class Live:
    """What is live in one workflow, for the case that was asked about."""

    workflow: str
    authority: str
    release: str
    seq: int
    stage: str
    decided_at: datetime
    pilot_release: str | None
    pilot_share: int
    pilot_salt: str
    pilot_authority: str
    switched_off: bool
    pinned: str | None
    has_pins: bool

    def as_flag(self, case: str) -> dict[str, Any]:
        """The answer for one flag. Variant and value survive into traces, metadata does not."""
        release, stage, authority, reason = self._for(case)
        variant = release or SWITCHED_OFF
        shared = {"release": release, "seq": self.seq, "stage": stage}
        metadata: dict[str, Any] = {
            **shared,
            "percent": _percent(self._share_of(stage)),
            "algo": ALGORITHM if self.pilot_release else "all",
            "decided_at": self.decided_at.astimezone(UTC).isoformat(),
        }
        if not self.switched_off:
            # With these a client answers for other cases, and keeps each case on its release while
            # we are away. Which cases are pinned only we know: it asks for each where some are.
            metadata |= {
                "stable_release": self.release,
                "stable_stage": self.stage,
                "stable_authority": self.authority,
                "has_pins": self.has_pins,
            }
            if self.pilot_release:
                metadata |= {
                    "pilot_release": self.pilot_release,
                    "pilot_share": self.pilot_share,
                    "pilot_salt": self.pilot_salt,
                    "pilot_authority": self._as(True)[1],
                }
        return {
            "key": self.workflow,
            "value": {
                **shared,
                "workflow": self.workflow,
                "authority": authority,
                "config": {},
                "content_url": f"/api/v1/releases/{release}" if release else "",
            },
            "reason": reason,
            "variant": variant,
            "metadata": metadata,
        }

    def _share_of(self, stage: str) -> int:
        """Basis points of the cases that get this answer."""
        if stage == SWITCHED_OFF:
            return WHOLE
        return self.pilot_share if stage == "canary" else WHOLE - self.pilot_share

    def _for(self, case: str) -> tuple[str, str, str, str]:
        """Return release, stage, authority and reason for one case."""
        if self.switched_off:
            return "", SWITCHED_OFF, "read_only", "DISABLED"
        if self.pinned is not None:
            is_pilot = self.pinned == self.pilot_release
            return self.pinned, *self._as(is_pilot), "TARGETING_MATCH"
        if self.pilot_release is None:
            return self.release, *self._as(False), "STATIC"
        is_pilot = assignment.is_pilot(self.workflow, self.pilot_salt, case, self.pilot_share)
        release = self.pilot_release if is_pilot else self.release
        return release, *self._as(is_pilot), "SPLIT"

    def _as(self, is_pilot: bool) -> tuple[str, str]:
        if not is_pilot:
            return self.stage, self.authority
        return "canary", self.pilot_authority or self.authority


def _percent(share: int) -> int | float:
    return share // 100 if share % 100 == 0 else share / 100


def evaluate(request: HttpRequest, key: str) -> HttpResponse:
    """Answer which release is live in the workflow `key`."""
    if request.method != "POST":
        return _only_post(key)
    try:
        secret = secret_of(request)
        if (wait := rate_limits.ofrep.wait(ApiToken.hash_of(secret))) > 0:
            return _too_many(wait, key)
        case = _case_of(request)
        if not KEY.match(key):
            return _not_found(key)
        found = _served(secret, key, case)
    except BadContextError as bad:
        return _error(key, bad.code, str(bad))
    except GovernanceError as refusal:
        return _refusal(refusal, key)
    return JsonResponse(found[0].as_flag(case)) if found else _not_found(key)


def evaluate_all(request: HttpRequest) -> HttpResponse:
    """Answer for every workflow the token may see; what has nothing live is left out."""
    if request.method != "POST":
        return _only_post()
    try:
        secret = secret_of(request)
        if (wait := rate_limits.ofrep.wait(ApiToken.hash_of(secret))) > 0:
            return _too_many(wait)
        case = _case_of(request)
        found = _served(secret, case=case)
    except BadContextError as bad:
        return _error("", bad.code, str(bad))
    except GovernanceError as refusal:
        return _refusal(refusal)
    body = json.dumps({"flags": [live.as_flag(case) for live in found]}).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    if _same(etag, request.headers.get("If-None-Match", "")):
        response = HttpResponse(status=304)
        del response["Content-Type"]
    else:
        response = HttpResponse(body, content_type="application/json")
    response["ETag"] = etag
    # A client may keep the answer, but asks each time whether it still holds.
    response["Cache-Control"] = "private, no-cache"
    return response


def _served(secret: str, key: str = "", case: str = "") -> list[Live]:
    """Return what is live and visible to the token, in one statement.

    Raises:
        UnauthenticatedError: the token is unknown, expired or revoked.
        NotAllowedError: it lacks the scope, or belongs to another workflow than `key`.
    """
    asked = {
        "scope": SCOPE,
        "every": LAST_USED_EVERY.total_seconds(),
        "case": case,
        "hash": ApiToken.hash_of(secret),
    }
    rows = prepared.fetch(ONE, {**asked, "key": key}) if key else prepared.fetch(ALL, asked)
    if not rows or not rows[0][1]:
        raise UnauthenticatedError("This token is unknown, expired or revoked.")
    token_id, _, scoped, only, unused_for_long = rows[0][:5]
    if not scoped:
        raise NotAllowedError(f"This token lacks the scope {SCOPE}.")
    if key and only not in ("", key):
        raise NotAllowedError(f"This token is for the workflow {only} only.")
    if unused_for_long:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE governance_apitoken SET last_used_at = now() WHERE id = %s", [token_id]
            )
    return [Live(*row[5:]) for row in rows if row[5] is not None]


class BadContextError(Exception):
    """The body is no evaluation request; `code` is OFREP's word for it."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def _case_of(request: HttpRequest) -> str:
    """Return the targeting key, empty when there is none.

    Python's client sends `{}` and JavaScript's `{"context": {}}` when there is no context.
    """
    try:
        body = parse_json(request.body)
    except InvalidInputError as error:
        raise BadContextError("PARSE_ERROR", str(error)) from error
    if not isinstance(body, dict):
        raise BadContextError("PARSE_ERROR", "The body must be a JSON object.")
    context = body.get("context")
    if context is None:
        return ""
    if not isinstance(context, dict):
        raise BadContextError("INVALID_CONTEXT", "The context must be a JSON object.")
    case = context.get("targetingKey")
    if case is None:
        return ""
    if not isinstance(case, str) or len(case) > LONGEST_CASE or not _is_storable(case):
        raise BadContextError(
            "INVALID_CONTEXT",
            f"The targetingKey must be text, at most {LONGEST_CASE} characters.",
        )
    return case


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _same(etag: str, asked: str) -> bool:
    return asked.strip() == "*" or etag in (
        part.strip().removeprefix("W/") for part in asked.split(",")
    )


def _error(key: str, code: str, sentence: str, status: int = 400) -> JsonResponse:
    named = {"key": key} if key else {}
    return JsonResponse({**named, "errorCode": code, "errorDetails": sentence}, status=status)


def _not_found(key: str) -> JsonResponse:
    return _error(key, "FLAG_NOT_FOUND", f"Nothing is live in a workflow named {key!r}.", 404)


def _too_many(wait: int, key: str = "") -> JsonResponse:
    """Say when to come back, in whole seconds: a date makes JavaScript clients pause too long."""
    response = _error(key, "GENERAL", f"Too many requests. Try again in {wait} s.", 429)
    response["Retry-After"] = str(wait)
    return response


def _refusal(refusal: GovernanceError, key: str = "") -> JsonResponse:
    response = _error(key, "GENERAL", str(refusal), refusal.status)
    if refusal.status == UnauthenticatedError.status:
        response["WWW-Authenticate"] = "Bearer"
    return response


def _only_post(key: str = "") -> JsonResponse:
    response = _error(key, "GENERAL", "Ask with POST.", 405)
    response["Allow"] = "POST"
    return response
