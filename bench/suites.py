"""A suite of 100,000 cases: imported, edited, frozen, paged, compared, exported; over HTTP.

Against a private PostgreSQL that syncs to disk and one granian worker.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

from bench._server import Served, serving

CASES = 100_000
SUITE = "/evals/suites/support-triage/golden/"
SEED = """
from django.contrib.sessions.backends.db import SessionStore
from governance.audit import Actor
from governance.people.services import create_user
from governance.workflows.services import create_workflow
bench = Actor.system("bench")
owner = create_user("owner", actor=bench, password="not for people 123")
create_workflow("support-triage", "Support triage", owner=owner, actor=bench)
analyst = create_user("analyst", actor=bench, role="analyst", password="not for people 123")
session = SessionStore()
session["_auth_user_id"] = str(analyst.pk)
session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
session["_auth_user_hash"] = analyst.get_session_auth_hash()
session.save()
print(session.session_key)
"""


def measure() -> Iterator[str]:
    """Put 100,000 cases in by a file, then work with them as a person does."""
    with serving(SEED, workers=1, threads=2) as served:
        yield from _measure(served)


def _measure(served: Served) -> Iterator[str]:
    browser = Browser(served)
    for name, content in (("cases.csv", _csv()), ("cases.jsonl", _jsonl())):
        status, body, seconds = browser.send(f"{SUITE}import/", {"act": "preview"}, name, content)
        size = len(content) / 1e6
        yield f"preview of {CASES:,} cases, {name}, {size:.1f} MB: {seconds:.1f} s ({status})"
    seen = _field(body, "seen")
    content = _jsonl()
    status, _, seconds = browser.send(
        f"{SUITE}import/", {"act": "import", "seen": seen}, "cases.jsonl", content
    )
    yield f"import as a version: {seconds:.1f} s ({status})"

    for what, query in (
        ("first page", ""), ("a page in the middle", "?after=c050000"),
        ("the last page", "?after=c099940"), ("one category", "?category=intent+7"),
        ("a text in it", "?text=number+77777"), ("must pass", "?must_pass=1"),
    ):  # fmt: skip
        times = sorted(browser.get(f"{SUITE}{query}")[2] for _ in range(7))
        yield f"{what}: {times[3] * 1000:.0f} ms, slowest of seven {times[-1] * 1000:.0f} ms"

    _, body, _ = browser.get(f"{SUITE}edit/?key=c000007")
    edited = {
        "key": "c000007", "text": "Another question.", "answer": "other", "reason": "Bench.",
        "seen": _field(body, "seen"),
    }  # fmt: skip
    status, _, seconds = browser.post(f"{SUITE}edit/?key=c000007", edited)
    yield f"edit one case: {seconds * 1000:.0f} ms ({status})"
    _, body, _ = browser.get(SUITE)
    status, _, seconds = browser.post(
        f"{SUITE}freeze/", {"reason": "One edit.", "mark": _field(body, "mark")}
    )
    yield f"freeze {CASES:,} cases with one edit: {seconds:.1f} s ({status})"
    status, body, seconds = browser.get(f"{SUITE}compare/?from=1&to=2")
    if b"0 added, 1 changed, 0 removed" not in body:
        raise RuntimeError("the edit is not what the two versions differ in")
    yield f"compare the two versions: {seconds:.2f} s ({status})"
    for form in ("csv", "jsonl"):
        status, body, seconds = browser.post(f"{SUITE}export/", {"format": form})
        yield f"export as {form}: {seconds:.1f} s, {len(body) / 1e6:.1f} MB ({status})"


class Browser:
    """Somebody logged in who fills in forms."""

    def __init__(self, served: Served) -> None:
        self.port = served.port
        self.token = "b" * 32
        self.headers = {"Cookie": f"sessionid={served.seeded[0]}; csrftoken={self.token}"}

    def get(self, path: str) -> tuple[int, bytes, float]:
        return self._ask("GET", path, self.headers, None)

    def post(self, path: str, data: Mapping[str, str]) -> tuple[int, bytes, float]:
        form = urlencode({**data, "csrfmiddlewaretoken": self.token})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, {**self.headers, **kind}, form.encode())

    def send(
        self, path: str, data: Mapping[str, str], name: str, content: bytes
    ) -> tuple[int, bytes, float]:
        """Send a form with a file."""
        mark = uuid.uuid4().hex
        fields = {
            **data, "into": "version", "reason": "Bench.", "csrfmiddlewaretoken": self.token,
        }  # fmt: skip
        parts = [
            f"--{mark}\r\nContent-Disposition: form-data;"
            f' name="{field}"\r\n\r\n{value}\r\n'.encode()
            for field, value in fields.items()
        ]
        parts.append(
            f'--{mark}\r\nContent-Disposition: form-data; name="upload"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode()
        )
        body = b"".join((*parts, content, f"\r\n--{mark}--\r\n".encode()))
        kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        return self._ask("POST", path, {**self.headers, **kind}, body)

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes, float]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        started = time.perf_counter()
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
        seconds = time.perf_counter() - started
        connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{path} answered {answer.status}: {content[-2000:]!r}")
        return answer.status, content, seconds


def _field(body: bytes, name: str) -> str:
    """The value of a hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', body.decode())
    if found is None:
        raise RuntimeError(f"the page has no field {name}")
    return found[1]


def _case(number: int) -> dict[str, object]:
    return {
        "id": f"c{number:06}",
        "input": {"text": f"Question number {number}: where is the parcel I ordered last week?"},
        "expected": {"answer": f"intent {number % 77}"},
        "category": f"intent {number % 77}",
        "segment": ("en", "de", "fr", "es")[number % 4],
        "must_pass": number % 1000 == 0,
        "reason": "Everyday mail, as customers write it.",
    }


def _jsonl() -> bytes:
    cases = (_case(number) for number in range(CASES))
    return "".join(json.dumps(case) + "\n" for case in cases).encode()


def _csv() -> bytes:
    lines = ["id;input;expected;category;segment;must_pass;reason\r\n"]
    for number in range(CASES):
        case = _case(number)
        asked = f"Question number {number}: where is the parcel I ordered last week?"
        lines.append(
            f"{case['id']};{asked};intent {number % 77};{case['category']};{case['segment']};"
            f"{'yes' if case['must_pass'] else ''};{case['reason']}\r\n"
        )
    return ("\ufeff" + "".join(lines)).encode()
