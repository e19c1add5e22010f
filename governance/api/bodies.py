"""Reading the body of a machine's request, with bounds that hold while inflating."""

from __future__ import annotations

import zlib

from django.http import HttpRequest

from governance.common.errors import GovernanceError

MOST_SENT = 8 * 1024 * 1024  # bytes as they arrive, and after gzip
MOST_DRAINED = 64 * 1024 * 1024  # bytes read away so that the sender hears why
DRAIN_STEP = 1024 * 1024
MOST_MEMBERS = 16  # parts of one gzip stream; thousands of empty ones would only burn time


class BodyError(GovernanceError):
    """The body cannot be read, or is more than is read."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


def read_body(request: HttpRequest, most: int = MOST_SENT) -> bytes:
    """Return the whole body, inflated.

    Args:
        most: bytes that are read at most, as they arrive and after gzip.

    Raises:
        BodyError: 411 without a length where the server needs one, 413 too large, 415 another
            encoding than gzip, 400 when less arrived than was announced or the gzip is broken.
    """
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise BodyError("Content-Encoding must be gzip, or none.", 415)
    announced = request.META.get("CONTENT_LENGTH") or ""
    try:
        if announced.isdigit():
            body = _read_announced(request, int(announced), most)
        elif request.META.get("wsgi.input_terminated"):
            # Chunked: Django would read nothing, the server knows where the body ends.
            body = request.META["wsgi.input"].read(most + 1)
        else:
            raise BodyError("Send the length of the body in Content-Length.", 411)
    except OSError as error:
        raise BodyError("The body broke off.") from error
    if len(body) > most:
        raise BodyError(_too_large(most), 413)
    return _inflated(body, most) if encoding == "gzip" else body


def _too_large(most: int) -> str:
    return f"The body is larger than {most // 2**20} MB."


def _read_announced(request: HttpRequest, length: int, most: int) -> bytes:
    if length > most:
        # A client that is still sending would not see the answer, so some of it is read away.
        for _ in range(min(length, MOST_DRAINED) // DRAIN_STEP):
            if not request.read(DRAIN_STEP):
                break
        raise BodyError(_too_large(most), 413)
    body = request.read(length)
    if len(body) != length:
        raise BodyError("The body is shorter than its Content-Length.")
    return body


def _inflated(body: bytes, most: int) -> bytes:
    found: list[bytes] = []
    room = most
    rest = body
    for _ in range(MOST_MEMBERS):
        stream = zlib.decompressobj(wbits=31)
        try:
            part = stream.decompress(rest, room + 1)
        except zlib.error as error:
            raise BodyError("The body is not valid gzip.") from error
        if len(part) > room:
            raise BodyError(f"The body inflates to more than {most // 2**20} MB.", 413)
        if not stream.eof:
            raise BodyError("The gzip body breaks off.")
        found.append(part)
        room -= len(part)
        rest = stream.unused_data
        if not rest:
            return b"".join(found)
    raise BodyError("The gzip body has too many parts.")
