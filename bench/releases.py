"""A corpus of 100,000 documents: registered, compared, shown; seconds over HTTP.

Against a private PostgreSQL that syncs to disk and one granian worker.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from bench._server import Served, serving

DOCUMENTS = 100_000
ADDED, REMOVED, EDITED = 500, 200, 300
PATH = "/api/v1/workflows/support-triage/releases"
SEED = """
from django.contrib.sessions.backends.db import SessionStore
from governance.audit import Actor
from governance.people.services import create_token, create_user
from governance.workflows.services import create_workflow
bench = Actor.system("bench")
owner = create_user("owner", actor=bench, password="not for people 123")
create_workflow("support-triage", "Support triage", owner=owner, actor=bench)
builder = create_user("builder", actor=bench, role="builder", password="not for people 123")
session = SessionStore()
session["_auth_user_id"] = str(builder.pk)
session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
session["_auth_user_hash"] = builder.get_session_auth_hash()
session.save()
print(create_token("ci", scopes=["releases:write", "releases:read"], actor=bench)[1],
      session.session_key)
"""


def measure() -> Iterator[str]:
    """Register two corpora that differ in a thousand documents, then look at them."""
    with serving(SEED, workers=1, threads=2) as served:
        yield from _measure(served)


def _measure(served: Served) -> Iterator[str]:
    token, session = served.seeded
    machine = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    person = {"Cookie": f"sessionid={session}"}
    first, second = (_manifest(which) for which in (0, 1))

    status, body, seconds = _ask(served, "POST", PATH, machine, first)
    one = json.loads(body)["digest"]
    yield (
        f"register {DOCUMENTS:,} documents ({len(first) / 1e6:.1f} MB): {seconds:.2f} s ({status})"
    )
    status, _, seconds = _ask(served, "POST", PATH, machine, first)
    yield f"register the same again: {seconds:.2f} s ({status}, nothing new)"
    status, body, seconds = _ask(served, "POST", PATH, machine, second)
    two = json.loads(body)["digest"]
    yield f"register {ADDED + REMOVED + EDITED:,} documents changed: {seconds:.2f} s ({status})"

    compare = f"/releases/{one}/compare/{two}/"
    for what, path in (
        ("compare page, first time", compare),
        ("compare page, again", compare),
        ("compare page, a search in it", f"{compare}?find=kb/0999&kind=removed"),
        ("every changed document as CSV", f"{compare}documents.csv"),
        ("page of the release", f"/releases/{two}/"),
        ("the release as a file", f"/releases/{two}/release.json"),
    ):
        status, body, seconds = _ask(served, "GET", path, person)
        yield f"{what}: {seconds:.2f} s, {len(body) / 1000:,.0f} kB ({status})"
    status, body, seconds = _ask(served, "GET", f"/api/v1/releases/{two}", machine)
    yield f"API, the whole release: {seconds:.2f} s, {len(body) / 1e6:.1f} MB ({status})"


def _manifest(which: int) -> bytes:
    """The corpus; the second one lacks some documents, has new ones, and edited ones."""
    documents = [_document(number) for number in range(DOCUMENTS)]
    if which:
        del documents[:REMOVED]
        for position in range(EDITED):
            documents[position]["sha256"] = sha256(b"edited %d" % position).hexdigest()
        documents.extend(_document(DOCUMENTS + number) for number in range(ADDED))
    slots: dict[str, Any] = {
        "model": {"provider": "own", "id": "bench"},
        "retrieval": {"source": "kb", "documents": documents, "count": len(documents)},
    }
    return json.dumps({"title": "Bench", "slots": slots}).encode()


def _document(number: int) -> dict[str, str]:
    return {"id": f"kb/{number:06}", "sha256": sha256(b"%d" % number).hexdigest()}


def _ask(
    served: Served, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, bytes, float]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
    started = time.perf_counter()
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    seconds = time.perf_counter() - started
    connection.close()
    if answer.status >= 400 or answer.status in (301, 302):
        raise RuntimeError(f"{path} answered {answer.status}: {content[:300]!r}")
    return answer.status, content, seconds
