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

from governance.api.tokens import LAST_USED_EVERY, UnauthenticatedError, secret_of
from governance.common.canonical import parse_json
from governance.common.errors import GovernanceError, InvalidInputError, NotAllowedError
from governance.people.models import ApiToken
from governance.workflows.models import SLUG

SCOPE = ApiToken.Scope.RELEASES_READ.value
KEY = re.compile(rf"{SLUG}\Z")

# One row per live workflow; a token that may see none still comes back once, with NULLs.
STATEMENT = """
SELECT token.id,
       token.revoked_at IS NULL AND (token.expires_at IS NULL OR now() < token.expires_at),
       %(scope)s = ANY (token.scopes),
       token.workflow_slug,
       token.last_used_at IS NULL OR token.last_used_at < now() - make_interval(secs => %(every)s),
       served.slug, served.authority, served.release_id, served.seq, served.stage, served.decided_at
FROM governance_apitoken token
LEFT JOIN (
    SELECT workflow.slug, workflow.authority,
           live.release_id, live.seq, live.stage, live.decided_at
    FROM governance_liverelease live
    JOIN governance_workflow workflow ON workflow.id = live.workflow_id
    WHERE %(key)s = '' OR workflow.slug = %(key)s
) served ON token.workflow_slug IN ('', served.slug)
WHERE token.token_hash = %(hash)s
ORDER BY served.slug
"""


@dataclass(frozen=True, slots=True)
class Live:
    """What is live in one workflow."""

    workflow: str
    authority: str
    release: str
    seq: int
    stage: str
    decided_at: datetime

    def as_flag(self) -> dict[str, Any]:
        """The answer for one flag. Variant and value survive into traces, metadata does not."""
        return {
            "key": self.workflow,
            "value": {
                "release": self.release,
                "workflow": self.workflow,
                "seq": self.seq,
                "stage": self.stage,
                "authority": self.authority,
                "config": {},
                "content_url": f"/api/v1/releases/{self.release}",
            },
            "reason": "STATIC",
            "variant": self.release,
            "metadata": {
                "release": self.release,
                "seq": self.seq,
                "stage": self.stage,
                "percent": 100,
                "algo": "all",
                "decided_at": self.decided_at.astimezone(UTC).isoformat(),
            },
        }


def evaluate(request: HttpRequest, key: str) -> HttpResponse:
    """Answer which release is live in the workflow `key`."""
    if request.method != "POST":
        return _only_post(key)
    try:
        secret = secret_of(request)
        if sentence := _bad_context(request):
            return _error(key, *sentence)
        if not KEY.match(key):
            return _not_found(key)
        found = _served(secret, key)
    except GovernanceError as refusal:
        return _refusal(refusal, key)
    return JsonResponse(found[0].as_flag()) if found else _not_found(key)


def evaluate_all(request: HttpRequest) -> HttpResponse:
    """Answer for every workflow the token may see; what has nothing live is left out."""
    if request.method != "POST":
        return _only_post()
    try:
        secret = secret_of(request)
        if sentence := _bad_context(request):
            return _error("", *sentence)
        found = _served(secret)
    except GovernanceError as refusal:
        return _refusal(refusal)
    body = json.dumps({"flags": [live.as_flag() for live in found]}).encode()
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


def _served(secret: str, key: str = "") -> list[Live]:
    """Return what is live and visible to the token, in one statement.

    Raises:
        UnauthenticatedError: the token is unknown, expired or revoked.
        NotAllowedError: it lacks the scope, or belongs to another workflow than `key`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            STATEMENT,
            {
                "scope": SCOPE,
                "every": LAST_USED_EVERY.total_seconds(),
                "key": key,
                "hash": ApiToken.hash_of(secret),
            },
        )
        rows = cursor.fetchall()
        if not rows or not rows[0][1]:
            raise UnauthenticatedError("This token is unknown, expired or revoked.")
        token_id, _, scoped, only, unused_for_long = rows[0][:5]
        if not scoped:
            raise NotAllowedError(f"This token lacks the scope {SCOPE}.")
        if key and only not in ("", key):
            raise NotAllowedError(f"This token is for the workflow {only} only.")
        if unused_for_long:
            cursor.execute(
                "UPDATE governance_apitoken SET last_used_at = now() WHERE id = %s", [token_id]
            )
    return [Live(*row[5:]) for row in rows if row[5] is not None]


def _bad_context(request: HttpRequest) -> tuple[str, str] | None:
    """Return the error code and the sentence when the body is no evaluation request.

    Python's client sends `{}` and JavaScript's `{"context": {}}` when there is no context.
    """
    try:
        body = parse_json(request.body)
    except InvalidInputError as error:
        return "PARSE_ERROR", str(error)
    if not isinstance(body, dict):
        return "PARSE_ERROR", "The body must be a JSON object."
    context = body.get("context")
    if context is None:
        return None
    if not isinstance(context, dict):
        return "INVALID_CONTEXT", "The context must be a JSON object."
    if not isinstance(context.get("targetingKey", ""), str):
        return "INVALID_CONTEXT", "The targetingKey must be text."
    return None


def _same(etag: str, asked: str) -> bool:
    return asked.strip() == "*" or etag in (
        part.strip().removeprefix("W/") for part in asked.split(",")
    )


def _error(key: str, code: str, sentence: str, status: int = 400) -> JsonResponse:
    named = {"key": key} if key else {}
    return JsonResponse({**named, "errorCode": code, "errorDetails": sentence}, status=status)


def _not_found(key: str) -> JsonResponse:
    return _error(key, "FLAG_NOT_FOUND", f"Nothing is live in a workflow named {key!r}.", 404)


def _refusal(refusal: GovernanceError, key: str = "") -> JsonResponse:
    response = _error(key, "GENERAL", str(refusal), refusal.status)
    if refusal.status == UnauthenticatedError.status:
        response["WWW-Authenticate"] = "Bearer"
    return response


def _only_post(key: str = "") -> JsonResponse:
    response = _error(key, "GENERAL", "Ask with POST.", 405)
    response["Allow"] = "POST"
    return response
