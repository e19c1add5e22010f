"""One request to an OpenAI-compatible endpoint: a release under test, or a judge.

`POST {base_url}/chat/completions` (the OpenAI chat completions contract), over
`governance.common.outbound`: checked addresses, no redirects, bounded bytes and seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings

from governance.common import outbound, secret_references
from governance.common.canonical import parse_json
from governance.common.errors import InvalidInputError

LONGEST_REPORT = 200  # characters of a refusal's body that are repeated
MOST_BYTES = 4 * 1024 * 1024
# Worth another try: the other side is busy or ill, not of another opinion.
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)


class CallError(InvalidInputError):
    """The other side did not answer as it must. The sentence never holds the secret.

    `spent` is what had been paid for by then: a useless answer costs as much as a good one.
    """

    spent = Decimal(0)


class PassingError(CallError):
    """It may answer when it is asked again, in `retry_after` seconds where it said so."""

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said. Tokens are None where the endpoint does not count them."""

    text: str
    model: str  # as the endpoint names it, which may be more exact than what was asked for
    fingerprint: str  # `system_fingerprint`
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: float
    tools: tuple[str, ...] = ()  # names of the functions that it wants called
    finish_reason: str = ""


def complete(
    *,
    base_url: str,
    secret: str,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    headers: Mapping[str, str],
    seconds: float,
) -> Completion:
    """Ask a model once.

    Args:
        base_url: such as `https://api.example.com/v1`.
        secret: a reference such as `env:COUNTERSIGN_MODEL_KEY`; "" for none.
        parameters: further keys of the request, such as `temperature` and `seed`.
        headers: sent beside the usual ones.
        seconds: for the whole call.

    Raises:
        PassingError: busy, ill, silent or cut off; asking again may help.
        CallError: it refused, or what came back is no completion.
        RefusedAddressError: this address is not asked.
    """
    body = {**parameters, "model": model, "messages": [dict(message) for message in messages]}
    started = time.monotonic()
    answer = send(
        "POST", base_url.rstrip("/") + "/chat/completions", body=body, secret=secret,
        headers=headers, seconds=seconds,
    )  # fmt: skip
    latency = 1000 * (time.monotonic() - started)
    try:
        return _read(parse_json(answer.body), latency)
    except (InvalidInputError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CallError("What came back is not a chat completion.") from error


def send(
    method: str,
    url: str,
    *,
    body: Any,
    secret: str,
    headers: Mapping[str, str],
    seconds: float,
    key_header: str = "Authorization",
) -> outbound.Answer:
    """Send JSON with a secret and return a successful answer; see `complete` for what it raises.

    Args:
        key_header: where the secret goes; in Authorization it stands after "Bearer".
    """
    sent = {"Content-Type": "application/json", "Accept": "application/json", **headers}
    key = ""
    if secret:
        key = secret_references.resolve(secret, folders=settings.SECRET_FOLDERS).decode()
        sent[key_header] = f"Bearer {key}" if key_header == "Authorization" else key
    try:
        answer = outbound.request(
            method, url, body=None if body is None else json.dumps(body).encode(), headers=sent,
            allowed=settings.OUTBOUND_ALLOWED, seconds=seconds, most_bytes=MOST_BYTES,
        )  # fmt: skip
    except outbound.TooLargeError as error:
        raise CallError(str(error)) from error
    except outbound.OutboundError as error:
        raise PassingError(str(error)) from error
    if answer.is_success:
        return answer
    if 300 <= answer.status < 400:
        raise CallError(f"It answered {answer.status}, a redirect, which is never followed.")
    said = answer.body[: 4 * LONGEST_REPORT].decode("utf-8", "replace")
    said = " ".join((said.replace(key, "…") if key else said).split())[:LONGEST_REPORT]
    sentence = f"It answered {answer.status}" + (f": {said}" if said else ".")
    if answer.status in PASSING:
        raise PassingError(sentence, _retry_after(answer.headers))
    raise CallError(sentence)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until another try, where the header holds a number; dates are too rare to read."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _read(found: Any, latency_ms: float) -> Completion:
    choice = found["choices"][0]
    message = choice["message"]
    usage = found.get("usage") or {}
    return Completion(
        text=_text(message.get("content")),
        model=str(found.get("model") or ""),
        fingerprint=str(found.get("system_fingerprint") or ""),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        latency_ms=latency_ms,
        tools=tuple(str(call["function"]["name"]) for call in message.get("tool_calls") or ()),
        finish_reason=str(choice.get("finish_reason") or ""),
    )


def _text(content: Any) -> str:
    """A text, or a list of parts of which the texts count."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(str(part["text"]) for part in content if part.get("type") == "text")


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 10**9 else None
