"""What the demo's application believes, and what it does when the server is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from governance.common.canonical import digest
from governance.demo.support.library import open_library
from governance.demo.support.release_source import ReleaseSource, verified
from governance.demo.support.releases import BY_KEY
from governance.demo.support.router import ReleaseError

LIBRARY = open_library()


def _document(key: str) -> tuple[str, dict[str, Any]]:
    """A release as the server hands it out, with its digest."""
    slots = BY_KEY[key].slots(LIBRARY)
    digests = {slot: digest({"slot": slot, "content": content}) for slot, content in slots.items()}
    manifest = {"v": "countersign.release.v1", "workflow": "support-triage", "slots": digests}
    components = {
        slot: {"digest": digests[slot], "content": content} for slot, content in slots.items()
    }
    return digest(manifest), {"manifest": manifest, "components": components}


class Server:
    """A server of releases whose answers a test decides."""

    def __init__(self) -> None:
        self.live = ""
        self.documents: dict[str, dict[str, Any]] = {}
        self.is_away = False
        self.is_off = False
        self.fetched: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if outer.is_off:
                    off = {"release": "", "seq": 2, "stage": "switched_off", "content_url": ""}
                    self._answer({"value": off, "variant": "switched_off", "reason": "DISABLED"})
                    return
                value = {"release": outer.live, "seq": 1, "content_url": f"/r/{outer.live}"}
                self._answer({"value": value, "variant": outer.live, "reason": "STATIC"})

            def do_GET(self) -> None:
                outer.fetched.append(self.path)
                self._answer(outer.documents[self.path.removeprefix("/r/")])

            def _answer(self, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(503 if outer.is_away else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Keep quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def serve(self, key: str) -> str:
        self.live, document = _document(key)
        self.documents[self.live] = document
        return self.live

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def test_a_release_is_fetched_once_and_followed_when_it_changes(server: Server) -> None:
    source = ReleaseSource(server.url, "secret")
    first = server.serve("careful")
    for _ in range(3):
        running = source.current("case")
        assert running is not None
        assert running.release == first
    assert len(server.fetched) == 1
    second = server.serve("bigger-corpus")
    running = source.current("case")
    assert running is not None
    assert (running.release, running.cached) == (second, False)


def test_the_last_good_release_goes_on_while_the_server_is_away(server: Server) -> None:
    source = ReleaseSource(server.url, "secret")
    server.is_away = True
    assert source.current("case") is None
    server.is_away = False
    good = server.serve("careful")
    assert source.current("case") is not None
    server.is_away = True
    running = source.current("case")
    assert running is not None
    assert (running.release, running.cached) == (good, True)
    assert running.router.decide("Where is my order?").answer


def test_nothing_is_answered_while_switched_off_and_the_log_says_it_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    source = ReleaseSource(server.url, "secret")
    good = server.serve("careful")
    assert source.current("case") is not None
    server.is_off = True
    assert [source.current("case"), source.current("case")] == [None, None]
    said = [record.getMessage() for record in caplog.records if "switched off" in record.message]
    assert said == ["support-triage is switched off: nothing is answered until it is on."]
    server.is_away = True  # an outage is no reason to start again
    assert source.current("case") is None
    server.is_away = server.is_off = False
    running = source.current("case")
    assert running is not None
    assert (running.release, running.cached) == (good, False)
    server.is_away = True
    running = source.current("case")
    assert running is not None
    assert (running.release, running.cached) == (good, True)


def test_a_release_that_was_tampered_with_is_not_run(server: Server) -> None:
    source = ReleaseSource(server.url, "secret")
    good = server.serve("careful")
    assert source.current("case") is not None
    bad = server.serve("bigger-corpus")
    server.documents[bad]["components"]["guardrails"]["content"]["confidence_threshold"] = 0.01
    running = source.current("case")
    assert running is not None
    assert (running.release, running.cached) == (good, True)


def test_every_digest_is_verified() -> None:
    name, document = _document("careful")
    assert set(verified(document, name)) == set(document["components"])
    with pytest.raises(ReleaseError, match="not the one that the digest names"):
        verified(document, _document("as-found")[0])
    changed = deepcopy(document)
    changed["components"]["model"]["content"]["neighbours"] = 1
    with pytest.raises(ReleaseError, match="content of model"):
        verified(changed, name)
