"""A small HTTP server that answers what a test tells it to, as a broken or foreign one would."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


def flag(release: str, seq: int, stage: str = "stable", **changes: Any) -> dict[str, Any]:
    """An OFREP answer as Countersign gives it."""
    authority = changes.pop("authority", "draft")
    metadata = {
        "stable_release": release, "stable_stage": stage, "stable_authority": authority,
        "has_pins": False, "algo": "all", **changes,
    }  # fmt: skip
    return {
        "key": "support-triage",
        "value": {
            "release": release, "workflow": "support-triage", "seq": seq, "stage": stage,
            "authority": authority, "config": {},
        },
        "reason": "STATIC",
        "variant": release,
        "metadata": metadata,
    }  # fmt: skip


@dataclass
class Scripted:
    """What it answers now, and what it was asked."""

    url: str = ""
    answer: Callable[[str, str, bytes], Answer] = lambda method, path, body: (200, {}, b"{}")
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def says(self, body: Any, status: int = 200, **headers: str) -> None:
        """Answer everything with this from now on."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda method, path, received: (status, named, sent)


@contextmanager
def scripted() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append((self.command, self.path, headers, body))
            status, more, answer = script.answer(self.command, self.path, body)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with contextlib.suppress(OSError):  # who asked may be gone
                self.wfile.write(answer)

        do_GET = do_POST = _do  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
