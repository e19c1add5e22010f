"""The JSON API: read a release, register one. `governance.api.promotions` adds proposing.

django-ninja gives the schema at `/api/v1/openapi.json`; the views run behind `MachineEndpoints`,
without session or cookies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers
from ninja import Field, NinjaAPI, Schema
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser
from ninja.security.base import AuthBase
from pydantic import ValidationError as PydanticError

from governance.api.bodies import read_body
from governance.api.middleware import problem
from governance.api.tokens import UnauthenticatedError, require_token
from governance.common.canonical import is_digest, parse_json
from governance.common.errors import GovernanceError, InvalidInputError, NotAllowedError
from governance.people.models import ApiToken
from governance.releases import services as releases
from governance.releases.models import Release, Slot
from governance.workflows.models import Workflow

PREFIX = "/api/v1/"
FOREVER = "private, max-age=31536000, immutable"  # a digest never names other bytes
LARGEST_RELEASE = 32 * 1024 * 1024  # bytes: 100,000 documents with their hashes are 10 MB
TEXT = r"^[^\x00]*$"  # PostgreSQL's text cannot hold NUL


class StrictParser(Parser):
    """JSON without duplicate keys, NaN or endless nesting."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        body = parse_json(request.body)
        if not isinstance(body, dict):
            raise InvalidInputError("The body must be a JSON object.")
        return body


class Token(AuthBase):
    """A bearer token with this scope. `request.auth` is the token."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __init__(self, scope: ApiToken.Scope) -> None:
        self.scope = scope
        super().__init__()

    def __call__(self, request: HttpRequest) -> ApiToken:
        return require_token(request, self.scope.value)


class NewRelease(Schema):
    title: str = Field("", max_length=200, pattern=TEXT)
    slots: dict[str, Any] = Field(description="JSON per slot; a missing slot is not declared.")


api = NinjaAPI(
    title="Countersign",
    version="1",
    urls_namespace="api",
    docs_url=None,
    openapi_url=None,  # ninja's own view reverses its address in the pages' urlconf; see below
    parser=StrictParser(),
)


@api.get("releases/{digest}", auth=Token(ApiToken.Scope.RELEASES_READ), summary="Read a release")
def read_release(request: HttpRequest, digest: str) -> HttpResponse:
    """The manifest and the content of each component, fetched once: the answer never changes."""
    release = (
        Release.objects.filter(pk=digest).select_related("workflow").first()
        if is_digest(digest)
        else None
    )
    if release is None or not token_of(request).allows(
        ApiToken.Scope.RELEASES_READ, release.workflow.slug
    ):
        return problem("No release has this digest.", 404)
    etag = f'"{digest}"'
    if etag in request.headers.get("If-None-Match", ""):
        response = HttpResponse(status=304)
    else:
        response = JsonResponse(_as_json(release))
    response["ETag"] = etag
    response["Cache-Control"] = FOREVER
    patch_vary_headers(response, ("Authorization", "X-API-Key"))
    return response


@api.post(
    "workflows/{workflow}/releases",
    auth=Token(ApiToken.Scope.RELEASES_WRITE),
    summary="Register a release",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": NewRelease.model_json_schema()}},
        }
    },
)
def register_release(request: HttpRequest, workflow: str) -> HttpResponse:
    """201 when it is new, 200 when the same content is registered already."""
    token = token_of(request)
    target = _workflow_of(token, ApiToken.Scope.RELEASES_WRITE, workflow)
    body = _new_release(request)
    release, created = releases.register_release(target, body.slots, title=body.title, actor=token)
    answer = {
        "digest": release.digest,
        "name": release.name,
        "title": release.title,
        "created": created,
        "content_url": f"{PREFIX}releases/{release.digest}",
        "page": f"/releases/{release.digest}/",
    }
    return JsonResponse(answer, status=201 if created else 200)


@api.get("openapi.json", include_in_schema=False)
def openapi(request: HttpRequest) -> HttpResponse:
    """What this API takes and gives, as OpenAPI."""
    return JsonResponse(api.get_openapi_schema(path_prefix=PREFIX))


def token_of(request: HttpRequest) -> ApiToken:
    return cast(ApiToken, request.auth)  # type: ignore[attr-defined]


def _new_release(request: HttpRequest) -> NewRelease:
    """Read the body here and not through ninja, which stops at what a page may send.

    Raises:
        BodyError: it is larger than `LARGEST_RELEASE`, or broken.
        InvalidInputError: it is no JSON object with a title and slots.
    """
    body = parse_json(read_body(request, LARGEST_RELEASE))
    if not isinstance(body, dict):
        raise InvalidInputError("The body must be a JSON object.")
    try:
        return NewRelease.model_validate(body)
    except PydanticError as error:
        raise InvalidInputError(_faults(error.errors())) from error


def _workflow_of(token: ApiToken, scope: ApiToken.Scope, slug: str) -> Workflow:
    """Return the workflow, when the token is for it.

    Raises:
        NotAllowedError: the token belongs to another workflow, whether this one exists or not.
        HttpError: there is no such workflow.
    """
    if not token.allows(scope, slug):
        raise NotAllowedError(f"This token is for the workflow {token.workflow_slug} only.")
    found = Workflow.objects.filter(slug=slug).first() if "\0" not in slug else None
    if found is None:
        raise HttpError(404, f"There is no workflow {slug!r}.")
    return found


def _as_json(release: Release) -> dict[str, Any]:
    components: dict[str, Any] = dict.fromkeys(Slot.values)
    for component in release.components.all():
        components[component.slot] = {
            "digest": component.digest,
            "content": component.content,
        }
    return {
        "digest": release.digest,
        "workflow": release.workflow.slug,
        "name": release.name,
        "title": release.title,
        "registered_at": release.registered_at.isoformat(),
        "manifest": release.manifest,
        "components": components,
    }


@api.exception_handler(GovernanceError)
def refused(request: HttpRequest, refusal: GovernanceError) -> HttpResponse:
    response = problem(str(refusal), refusal.status)
    if refusal.status == UnauthenticatedError.status:
        response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(HttpError)
def unreadable(request: HttpRequest, error: HttpError) -> HttpResponse:
    cause = error.__cause__  # ninja hides what its parser said
    sentence = str(cause) if isinstance(cause, GovernanceError) else str(error)
    return problem(sentence, error.status_code)


@api.exception_handler(ValidationError)
def invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return problem(_faults(error.errors), 422)


def _faults(errors: Iterable[Any]) -> str:
    parts = []
    for fault in errors:
        field = ".".join(str(step) for step in fault["loc"] if step != "body")
        said = fault["msg"]
        if fault.get("ctx", {}).get("pattern") == TEXT:
            said = "it holds a NUL character, which cannot be stored"
        parts.append(f"{field or 'The body'}: {said}")
    return "; ".join(parts)[:1000] or "The request is not valid."


@api.exception_handler(Exception)
def unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    """Left to `MachineEndpoints`: a database that is away is a 503, everything else a 500."""
    raise error
