"""Calling a release over the network: what is sent, what is read out of the answer, and retries."""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from jmespath.exceptions import JMESPathError

from governance.common.canonical import canonical, parse_json
from governance.common.errors import InvalidInputError
from governance.evals import chat
from governance.evals.target_content import LARGEST_BUDGET, check_release, compiled, fill

MILLION = Decimal(1_000_000)
FIRST_PAUSE = 0.5  # seconds before the second try; doubled each time
LONGEST_PAUSE = 60.0


@dataclass
class Pace:
    """The breaks that all calls of one run take together; ended when the run ends."""

    over: threading.Event = field(default_factory=threading.Event)
    _until: float = 0.0  # by the monotonic clock
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pause(self, seconds: float) -> None:
        """Let nobody call before so many seconds are over."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def wait(self) -> None:
        """Wait until calls may go on.

        Raises:
            CallError: the run ended meanwhile.
        """
        while (left := self._until - time.monotonic()) > 0:
            self.over.wait(left)
            if self.over.is_set():
                raise chat.CallError("The run ended before this call.")


def headers_for(digest: str) -> dict[str, str]:
    """Name the candidate, and give the call a trace of its own (W3C Trace Context)."""
    return {
        "X-Countersign-Release": digest,
        "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    }


def patiently(call: Callable[[], dict[str, Any]], *, tries: int, pace: Pace) -> dict[str, Any]:
    """Call until there is an answer. What may pass is tried again, later each time.

    Whoever says how long to wait (Retry-After) is obeyed by all calls of the run.
    """
    pause = FIRST_PAUSE
    for attempt in range(1, tries + 1):
        pace.wait()
        try:
            found = call()
        except chat.PassingError as error:
            if attempt == tries:
                raise
            if error.retry_after is not None:
                pace.pause(min(error.retry_after, LONGEST_PAUSE))
            elif pace.over.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311 - spread, no secret
                raise
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            found["usage"]["tries"] = attempt
            return found
    raise AssertionError("unreachable")


def openai(
    content: Mapping[str, Any], digest: str, declared: Mapping[str, Any]
) -> Callable[..., dict[str, Any]]:
    """Return what asks the endpoint for one case.

    Raises:
        InvalidInputError: the release lacks something that the messages name.
    """
    model = content["model"] or _model(declared)
    prices = Decimal(content["price_in"]), Decimal(content["price_out"])
    own = declared.get("model") or {}
    parameters = {**(own.get("parameters") or {}), **content["parameters"]}
    # A hole of the release that leads nowhere is found here, once, and not in every case.
    check_release(content["messages"], declared)

    def call(case_input: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
        said = chat.complete(
            base_url=content["base_url"], secret=content["secret"], model=model,
            messages=fill(content["messages"], {"input": case_input, "release": declared}),
            parameters={"seed": seed, **parameters} if seed else parameters,
            headers=headers_for(digest), seconds=content["seconds"],
        )  # fmt: skip
        used = said.prompt_tokens or 0, said.completion_tokens or 0
        cost = sum((p * n for p, n in zip(prices, used, strict=True)), Decimal(0)) / MILLION
        found = {
            "answer": said.text,
            "escalated": None,
            "violations": [],
            "cost": str(cost),
            "latency_ms": said.latency_ms,
            "tools": list(said.tools),
            "usage": {
                "prompt_tokens": said.prompt_tokens,
                "completion_tokens": said.completion_tokens,
                "model": said.model,
                "fingerprint": said.fingerprint,
            },
        }
        if content["paths"]:
            try:
                parsed = parse_json(_unfenced(said.text))
            except InvalidInputError as error:
                wrong = chat.CallError(f"The answer is not the JSON it must be: {error}")
                wrong.spent = cost
                raise wrong from error
            try:
                found.update(_read(parsed, content["paths"]))
            except chat.CallError as error:
                error.spent = cost
                raise
        return found

    return call


def http(
    content: Mapping[str, Any], digest: str, declared: Mapping[str, Any]
) -> Callable[..., dict[str, Any]]:
    """Return what sends one case to an HTTP target.

    Raises:
        InvalidInputError: the release lacks something that the body names.
    """
    check_release(content["body"], declared)

    def call(case_input: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
        headers = {**content["headers"], **headers_for(digest)}
        if seed:
            headers["X-Countersign-Seed"] = str(seed)
        facts = {"input": case_input, "release": declared}
        body = None if content["method"] == "GET" else fill(content["body"], facts)
        started = time.monotonic()
        answer = chat.send(
            content["method"], content["url"], body=body, secret=content["secret"],
            key_header=content["secret_header"], headers=headers, seconds=content["seconds"],
        )  # fmt: skip
        found: dict[str, Any] = {
            "answer": "",
            "escalated": None,
            "violations": [],
            "cost": "0",
            "latency_ms": 1000 * (time.monotonic() - started),
            "tools": [],
            "usage": {},
        }
        if not content["paths"]:
            found["answer"] = answer.body.decode("utf-8", "replace")
            return found
        try:
            parsed = parse_json(answer.body)
        except InvalidInputError as error:
            raise chat.CallError(f"The answer is not JSON: {error}") from error
        try:
            found.update(_read(parsed, content["paths"]))
        except chat.CallError as error:
            with contextlib.suppress(chat.CallError):
                only_cost = {name: p for name, p in content["paths"].items() if name == "cost"}
                error.spent = paid(_read(parsed, only_cost)) or Decimal(0)
            raise
        return found

    return call


def paid(found: Any) -> Decimal | None:
    """Return what an answer says it cost, whatever else is wrong with it; None: nothing."""
    try:
        cost = Decimal(str(found["cost"]))
    except (ArithmeticError, KeyError, TypeError):
        return None
    return cost if cost.is_finite() and 0 <= cost <= LARGEST_BUDGET else None


def _model(declared: Mapping[str, Any]) -> str:
    name = (declared.get("model") or {}).get("id")
    if not isinstance(name, str) or not name:
        raise InvalidInputError("The release declares no model, and the target names none.")
    return name


def _read(parsed: Any, paths: Mapping[str, str]) -> dict[str, Any]:
    """Read what the paths name. What an answer says wrongly is an error of the case."""
    found: dict[str, Any] = {}
    for name, path in paths.items():
        try:
            value = compiled(name, path)(parsed)
        except (JMESPathError, RecursionError, TypeError, ValueError) as error:
            raise chat.CallError(f"The path of {name!r} does not fit the answer.") from error
        if name == "answer":
            value = value if isinstance(value, str) else _as_text(value)
        elif name in ("violations", "tools"):
            value = [] if value is None else value
        elif name == "cost":
            value = "0" if value is None else str(value)
        found[name] = value
    return found


def _as_text(value: Any) -> str:
    if value is None:
        raise chat.CallError("The answer is not where its path says.")
    return canonical(value)


def _unfenced(text: str) -> str:
    """Models like to wrap JSON into a fenced block."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        return text.removeprefix("```json").removeprefix("```").removesuffix("```")
    return text
