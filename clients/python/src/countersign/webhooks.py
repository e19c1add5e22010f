"""For pipelines that Countersign calls: is this message really from it, and from just now?"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

from countersign.errors import CountersignError

TOLERANCE = 300.0  # seconds


class BadSignatureError(CountersignError):
    """Somebody else sent this, or somebody sent it again much later."""


def read_webhook(
    body: bytes, signature: str, secret: bytes, *, tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """Return the message after checking the header `Countersign-Signature`.

    Keep the highest `seq` that was acted on, and do nothing for one that is not higher: messages
    may come twice.

    Raises:
        BadSignatureError: it does not fit, or is older or newer than `tolerance` seconds.
    """
    parts = dict(part.partition("=")[::2] for part in signature.split(","))
    timestamp, shown = parts.get("t", ""), parts.get("v1", "")
    expected = hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), shown.encode()):
        raise BadSignatureError("The signature does not fit the message.")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > tolerance:
        raise BadSignatureError("The message was signed at another time than now.")
    message = json.loads(body)
    if not isinstance(message, dict):
        raise BadSignatureError("The message is no JSON object.")
    return message
