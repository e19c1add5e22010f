"""HTTP with kept connections, a deadline, no redirects. Standard library only."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlsplit

from countersign.errors import UnreachableError

MOST_BYTES = 512 * 1024 * 1024  # of one answer: seven slots of 32 MB each, escaped
STEP = 256 * 1024
KEPT = 8  # idle connections


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def retry_after(self) -> float:
        """Seconds the server asked to wait; 0 when it did not say so in digits."""
        text = self.headers.get("retry-after", "").strip()
        return float(text) if text.isdigit() and len(text) < 6 else 0.0


class Transport:
    """Sends requests to one server with one token. Safe to share between threads."""

    def __init__(
        self, url: str, token: str, *, timeout: float, context: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"The address must start with http:// or https://, not {url!r}.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("The address holds a server and a path, nothing else.")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._context = (
            (context or ssl.create_default_context()) if parts.scheme == "https" else None
        )
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "User-Agent": "countersign-python",
        }
        self.forget_connections()

    def forget_connections(self) -> None:
        """Start without connections: after a fork they belong to the parent."""
        self._lock = Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def send(
        self, method: str, path: str, body: bytes | None = None, *,
        timeout: float | None = None, headers: Mapping[str, str] | None = None,
    ) -> Reply:  # fmt: skip
        """Send one request and read the whole answer.

        Raises:
            UnreachableError: no whole answer within `timeout` seconds.
        """
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        limit = timeout or self.timeout
        try:
            connection, reused = self._take(limit)
            try:
                return self._exchange(connection, method, path, body, sent, limit)
            except (http.client.RemoteDisconnected, ConnectionError):
                # The server closed a kept connection meanwhile: every request here may be sent
                # twice, so it goes out once more on a new one.
                if not reused:
                    raise
                return self._exchange(self._new(limit), method, path, body, sent, limit)
        except (OSError, http.client.HTTPException) as error:
            said = str(error) or type(error).__name__
            raise UnreachableError(f"{self.url} did not answer: {said}.") from error

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None,
        headers: dict[str, str], limit: float,
    ) -> Reply:  # fmt: skip
        deadline = time.monotonic() + limit
        try:
            connection.request(method, self._prefix + path, body, headers)
            answer = connection.getresponse()
            parts, size = [], 0
            while part := answer.read1(STEP):
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise http.client.HTTPException("the answer is too large")
                if time.monotonic() > deadline:
                    raise TimeoutError("the answer took too long")
            if not answer.isclosed() and answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
            answer.close()  # `read1` leaves it open, and then the connection sends nothing more
            reply = Reply(
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                b"".join(parts),
            )
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._keep(connection)
        return reply

    def _take(self, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            return self._new(timeout), False
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection, True

    def _new(self, timeout: float) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=timeout, context=self._context
        )

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < KEPT:
                self._idle.append(connection)
                return
        connection.close()
