"""The front door of machines.

Machine endpoints stay outside sessions, CSRF tokens, CSP and redirects to a login page: they carry
a Bearer token and get JSON, and serving a release costs one query.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.core.exceptions import RequestDataTooBig
from django.db import DataError, close_old_connections
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from governance.api.tokens import TooManyError
from governance.common.errors import GovernanceError

log = logging.getLogger(__name__)
PREFIXES = ("/ofrep/", "/v1/", "/api/", "/healthz", "/readyz", "/metrics")
URLCONF = "governance.api.urls"
RETRY_AFTER = "3"  # seconds


class MachineEndpoints:
    """Answer a machine endpoint here; let everything else through."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PREFIXES):
            return self.get_response(request)
        try:
            response = self._answer(request)
        except TooManyError as refusal:
            response = problem(str(refusal), refusal.status)
            response["Retry-After"] = str(refusal.wait)
        except GovernanceError as refusal:
            response = problem(str(refusal), refusal.status)
        except RequestDataTooBig:
            response = problem("The body is too large.", 413)
        except DataError as error:
            # Sending it again cannot help, so it must not look like a database that is away.
            log.warning("Refused at %s: %s", request.path_info, error)
            response = problem("A value is too long, too large or not text.", 422)
        except DatabaseError:
            # 503 makes exporters and clients try again; a 500 makes them drop their batch.
            log.exception("The database did not answer %s", request.path_info)
            response = problem("The database is away. Try again.", 503)
            response["Retry-After"] = RETRY_AFTER
            close_old_connections()
        except Exception:
            log.exception("Unexpected error at %s", request.path_info)
            response = problem("Something went wrong here. The error was logged.", 500)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        if response.status_code != 304:
            # Whole answers, so no server has to send them in chunks.
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response

    def _answer(self, request: HttpRequest) -> HttpResponse:
        try:
            match = get_resolver(URLCONF).resolve(request.path_info)
            request.resolver_match = match
            response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        except Http404:  # Resolver404 is one
            return problem("There is no such endpoint.", 404)
        if response.status_code == 405 and response["Content-Type"] != "application/json":
            refusal = problem(f"Allowed here: {response['Allow']}.", 405)
            refusal["Allow"] = response["Allow"]
            return refusal
        return response


def problem(sentence: str, status: int) -> JsonResponse:
    """An error for a machine: one sentence that says what to do."""
    return JsonResponse({"error": sentence, "errorDetails": sentence}, status=status)
