"""A real HTTP server in the place of a model: it answers as it is told, request by request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
Behaviour = Callable[["Asked"], Reply]


@dataclass
class Asked:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: Any
    number: int  # of the request, from 1


@dataclass
class ModelServer:
    """`behave` decides what is answered; everything that was asked is kept."""

    behave: Behaviour
    origin: str = ""
    asked: list[Asked] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


def completion(text: str, **more: Any) -> Reply:
    """An answer of the chat completions contract."""
    said = {
        "id": "c1", "object": "chat.completion", "model": "model-2026-01-01",
        "system_fingerprint": "fp_1",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        **more,
    }  # fmt: skip
    return 200, {"Content-Type": "application/json"}, json.dumps(said).encode()


def always(text: str) -> Behaviour:
    return lambda asked: completion(text)


def scripted(*replies: Reply | Behaviour) -> Behaviour:
    """One reply after another; the last one goes on."""

    def behave(asked: Asked) -> Reply:
        reply = replies[min(asked.number, len(replies)) - 1]
        return reply(asked) if callable(reply) else reply

    return behave


def slow(seconds: float, reply: Reply) -> Behaviour:
    def behave(asked: Asked) -> Reply:
        time.sleep(seconds)
        return reply

    return behave


@contextmanager
def model_server(behave: Behaviour) -> Iterator[ModelServer]:
    """Run the server on a free port of this machine."""
    server = ModelServer(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with server.lock:
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
                asked = Asked(
                    self.path, dict(self.headers), json.loads(sent or b"null"),
                    len(server.asked) + 1,
                )  # fmt: skip
                server.asked.append(asked)
            try:
                status, headers, body = server.behave(asked)
            finally:
                with server.lock:
                    server.at_once -= 1
            if status == 0:  # never answers
                server.closing.wait(60)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # whoever asked went away: that is what some tests are about

    http = Quiet(("127.0.0.1", 0), Handler)
    server.origin = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()
