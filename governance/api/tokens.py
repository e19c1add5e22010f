"""Bearer tokens on machine endpoints."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest

from governance.api import rate_limits
from governance.common.errors import GovernanceError, NotAllowedError
from governance.common.time import true_now
from governance.people.models import ApiToken

LAST_USED_EVERY = timedelta(minutes=1)  # one write a minute and token, not one per request


class UnauthenticatedError(GovernanceError):
    """No usable token was shown."""

    status = 401


class TooManyError(GovernanceError):
    """This token asks too often. `wait` is in whole seconds."""

    status = 429

    def __init__(self, wait: int) -> None:
        super().__init__(f"Too many requests. Try again in {wait} s.")
        self.wait = wait


def secret_of(request: HttpRequest) -> str:
    """Return what the request shows as `Authorization: Bearer` or `X-API-Key`."""
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and secret.strip():
        return secret.strip()
    if key := request.headers.get("X-API-Key", "").strip():
        return key
    raise UnauthenticatedError("Send a token: Authorization: Bearer cs_….")


def require_token(request: HttpRequest, scope: str) -> ApiToken:
    """Return the token that was shown.

    Raises:
        UnauthenticatedError: none, unknown, expired or revoked.
        NotAllowedError: it lacks the scope.
        TooManyError: it asks more often than its limit.
    """
    hashed = ApiToken.hash_of(secret_of(request))
    if scope == ApiToken.Scope.RECEIPTS_WRITE and (wait := rate_limits.receipts.wait(hashed)) > 0:
        raise TooManyError(wait)
    token = ApiToken.objects.filter(token_hash=hashed).first()
    moment = true_now()
    if token is None or not token.usable_at(moment):
        raise UnauthenticatedError("This token is unknown, expired or revoked.")
    if scope not in token.scopes:
        raise NotAllowedError(f"This token lacks the scope {scope}.")
    if token.last_used_at is None or token.last_used_at < moment - LAST_USED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=moment)
    return token
