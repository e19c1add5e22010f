"""Reading the body of a machine's request, with bounds that hold while inflating."""

from __future__ import annotations

import zlib

from django.http import HttpRequest, UnreadablePostError

from governance.common.errors import GovernanceError

MOST_SENT = 8 * 1024 * 1024  # bytes as they arrive
MOST_INFLATED = 8 * 1024 * 1024  # bytes after gzip
MOST_MEMBERS = 16  # parts of one gzip stream; thousands of empty ones would only burn time


class BodyError(GovernanceError):
    """The body cannot be read, or is more than is read."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


def read_body(request: HttpRequest) -> bytes:
    """Return the whole body, inflated.

    Raises:
        BodyError: 411 without a length, 413 too large, 415 another encoding than gzip, 400 when
            less arrived than was announced or the gzip is broken.
    """
    announced = request.META.get("CONTENT_LENGTH") or ""
    if not announced.isdigit():
        raise BodyError("Send the length of the body in Content-Length.", 411)
    if int(announced) > MOST_SENT:
        raise BodyError(f"The body is larger than {MOST_SENT // 2**20} MB.", 413)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise BodyError("Content-Encoding must be gzip, or none.", 415)
    try:
        body = request.read(int(announced))
    except UnreadablePostError as error:
        raise BodyError("The body broke off.") from error
    if len(body) != int(announced):
        raise BodyError("The body is shorter than its Content-Length.")
    return _inflated(body) if encoding == "gzip" else body


def _inflated(body: bytes) -> bytes:
    found: list[bytes] = []
    room = MOST_INFLATED
    rest = body
    for _ in range(MOST_MEMBERS):
        stream = zlib.decompressobj(wbits=31)
        try:
            part = stream.decompress(rest, room + 1)
        except zlib.error as error:
            raise BodyError("The body is not valid gzip.") from error
        if len(part) > room:
            raise BodyError(f"The body inflates to more than {MOST_INFLATED // 2**20} MB.", 413)
        if not stream.eof:
            raise BodyError("The gzip body breaks off.")
        found.append(part)
        room -= len(part)
        rest = stream.unused_data
        if not rest:
            return b"".join(found)
    raise BodyError("The gzip body has too many parts.")
