"""Ask for a release to become live and wait for its gate, as CI does."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from countersign.errors import BadAnswerError, CountersignError, UnreachableError
from countersign.transport import Reply, Transport

EVALUATING = "evaluating"
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds between two looks
GONE = ("withdrawn", "rejected", "rolled_back", "superseded", "stopped")  # its verdict is history
RETRIED = (429, 502, 503, 504)


class RefusedError(CountersignError):
    """Countersign answered that it will not do this; the sentence says why."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class GateTimeoutError(CountersignError):
    """The gate did not answer in time. The promotion goes on; `page` shows it."""

    def __init__(self, sentence: str, page: str) -> None:
        super().__init__(sentence)
        self.page = page


@dataclass(frozen=True, slots=True)
class Gate:
    """What came of one round of a promotion's gate.

    `verdict`: pass, fail or not_enough_evidence. `rows` are the lines of its table as the report
    holds them, hard rules included; `refusals` say why the evidence cannot carry a pass.
    """

    promotion: int
    release: str
    state: str
    verdict: str
    sentence: str
    page: str
    report: str
    rows: Sequence[Mapping[str, Any]] = field(default_factory=list)
    refusals: Sequence[Mapping[str, Any]] = field(default_factory=list)
    settle: Sequence[str] = field(default_factory=list)
    missing_suites: Sequence[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 2 not enough evidence, or a suite that was asked for is missing."""
        if self.verdict == "pass":
            return 2 if self.missing_suites else 0
        return 1 if self.verdict == "fail" else 2


class GateClient:
    """Registers, proposes and waits with one token.

    It needs the scope `promotions:propose`, and `releases:write` to register from a file.
    """

    def __init__(
        self, url: str, token: str, *, timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.url = url.rstrip("/")
        self._transport = Transport(url, token, timeout=timeout)
        self._sleep = sleep

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def register(self, workflow: str, release: Mapping[str, Any]) -> str:
        """Register a release (`title`, `slots`) and return its digest; known ones are known."""
        said = self._ask("POST", f"/api/v1/workflows/{quote(workflow, safe='')}/releases", release)
        return _text(said, "digest")

    def propose(self, release: str, rationale: str, *, key: str = "", road: str = "") -> int:
        """Propose a registered release; the same `key` is the same promotion. Returns its id."""
        body = {"release": release, "rationale": rationale, **({"road": road} if road else {})}
        headers = {"Idempotency-Key": key} if key else {}
        said = self._ask("POST", "/api/v1/promotions", body, headers)
        number = said.get("promotion")
        if not isinstance(number, int):
            raise BadAnswerError("The answer names no promotion.")
        return number

    def wait(
        self, promotion: int, *, suites: Sequence[str] = (), seconds: float = 3600.0,
        said: Callable[[str], None] = lambda sentence: None,
    ) -> Gate:  # fmt: skip
        """Wait until the gate has judged.

        Args:
            suites: golden, recent or adversarial: each must have been judged on.
            seconds: how long to wait at most.
            said: told each new state once, for a log.

        Raises:
            GateTimeoutError: it has not judged within `seconds`.
            RefusedError: there is no such promotion, or it was withdrawn before its verdict.
        """
        deadline = time.monotonic() + seconds
        told = ""
        while True:
            found, pause = self._look(promotion)
            page = self.url + str(found.get("page", ""))
            state = _text(found, "state")
            if state != told:
                said(f"Promotion {promotion}: {state.replace('_', ' ')}")
                told = state
            if state != EVALUATING:
                return self._judged(promotion, found, page, suites)
            if time.monotonic() + pause > deadline:
                raise GateTimeoutError(
                    f"The gate has not judged within {seconds:.0f} s. It goes on: {page}", page
                )
            self._sleep(pause)

    def _look(self, promotion: int) -> tuple[dict[str, Any], float]:
        reply = self._send("GET", f"/api/v1/promotions/{promotion}")
        pause = min(max(reply.retry_after, SHORTEST_WAIT), LONGEST_WAIT)
        return _object(reply), pause

    def _judged(
        self, promotion: int, found: Mapping[str, Any], page: str, suites: Sequence[str]
    ) -> Gate:
        verdict = found.get("verdict")
        if found.get("state") in GONE:
            why = str(found.get("closing_reason") or "it serves no more")
            raise RefusedError(f"Promotion {promotion} is {found['state']}: {why}", 409)
        if found.get("stale"):
            raise RefusedError(f"Promotion {promotion} counts no more: {found['stale']}", 409)
        if not isinstance(verdict, str):
            why = str(found.get("closing_reason") or found.get("state"))
            raise RefusedError(f"Promotion {promotion} ended without a verdict: {why}", 409)
        report = self._ask("GET", f"/api/v1/promotions/{promotion}/gate-report")
        rows = _list(report, "rows")
        judged = {
            str(row.get("suite"))
            for row in rows
            if row.get("role") not in ("reported", "hard_rule")
        }
        return Gate(
            promotion=promotion,
            release=_text(found, "release"),
            state=_text(found, "state"),
            verdict=verdict,
            sentence=str(found.get("verdict_says", "")),
            page=page,
            report=str(found.get("gate_report", "")),
            rows=rows,
            refusals=_list(report, "refusals"),
            settle=[str(line) for line in report.get("settle") or []],
            missing_suites=[suite for suite in suites if suite not in judged],
        )

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        return _object(self._send(method, path, body, headers))

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:  # fmt: skip
        """Send it, a few times where the server is away: every request here may be repeated."""
        sent = None if body is None else json.dumps(body).encode()
        for attempt in range(5):
            reply, error = None, None
            try:
                reply = self._transport.send(method, path, sent, headers=headers)
            except UnreachableError as unreachable:
                error = unreachable
            if reply is not None and reply.status not in RETRIED:
                return reply
            if attempt == 4:
                break
            self._sleep(max(reply.retry_after if reply else 0.0, 2.0**attempt))
        if error is not None:
            raise error
        raise UnreachableError(f"{self.url} answered {reply.status if reply else 'nothing'}.")


def key_of(*parts: str) -> str:
    """An idempotency key from what makes a CI run one and the same."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _object(reply: Reply) -> dict[str, Any]:
    try:
        said = json.loads(reply.body)
    except ValueError:
        said = None
    if reply.status >= 400:
        sentence = said.get("error") if isinstance(said, dict) else None
        raise RefusedError(str(sentence or f"It was answered {reply.status}."), reply.status)
    if not isinstance(said, dict):
        raise BadAnswerError("The answer is no JSON object. Is this address Countersign's?")
    return said


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise BadAnswerError(f"The answer does not say {name}.")
    return value


def _list(said: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = said.get(name)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
