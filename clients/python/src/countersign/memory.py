"""The last good answer: what is known, since when, and whether a newer one may follow it."""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

from countersign import files
from countersign.answers import Answer, Choice, Served
from countersign.canonical import digest
from countersign.errors import BadAnswerError

log = logging.getLogger("countersign")
WRITTEN_EVERY = 5.0  # seconds, while only the time of the answer changes
MOST_PINS = 10_000  # cases that a person pinned to a release
BUNDLE = "countersign.bundle.v1"


class Memory:
    """What one server said about one workflow, in memory and in a file."""

    def __init__(self, url: str, workflow: str, path: Path | None, fresh_for: float) -> None:
        """`fresh_for`: seconds after which an answer that nobody confirmed again is cached."""
        self._fresh_for = fresh_for
        self._written_at = -math.inf
        self._url = url
        self._workflow = workflow
        self._path = path
        self.served: Served | None = None
        self.fault = "It was not asked yet."  # why the answer is not fresh; empty when it is
        self._pins: OrderedDict[str, Choice] = OrderedDict()
        self._confirmed_at = 0.0  # by the wall clock, which a restart survives
        self._confirmed_mono: float | None = None  # by this process's own clock
        self._says = ""
        self.reset_locks()

    def reset_locks(self) -> None:
        self._lock = Lock()
        self._write_lock = Lock()

    # -- reading -------------------------------------------------------------------------------

    def age(self) -> float:
        """Seconds since the server last confirmed the answer; infinite when nobody can tell.

        The larger of both clocks counts, so that a clock that was set back makes nothing younger.
        """
        wall = time.time() - self._confirmed_at
        if self._confirmed_mono is None:
            return wall if wall >= 0 else math.inf
        return max(wall, time.monotonic() - self._confirmed_mono, 0.0)

    def answer(self, case: str, fresh: tuple[Served, Choice] | None = None) -> Answer | None:
        """The answer for a case; `fresh` is what the server said about it just now."""
        with self._lock:
            served = self.served
            if served is None:
                return None
            if fresh is not None and fresh[0].seq >= served.seq:
                served, choice = fresh
                fault, age = "", 0.0
            else:
                pinned = None if served.switched_off else self._pins.get(case)
                choice = pinned or served.choose(case)
                fault, age = self.fault, self.age()
                if not fault and age > self._fresh_for:
                    fault = "Nobody confirmed it for a while."
        return Answer(
            workflow=self._workflow, digest=choice.release, seq=served.seq, stage=choice.stage,
            authority=choice.authority, reason=choice.reason, cached=bool(fault), age=age,
            config=served.config, note=fault,
        )  # fmt: skip

    # -- writing -------------------------------------------------------------------------------

    def learn(self, served: Served, case: str, choice: Choice, asked_at: float) -> bool:
        """Take what the server said; returns whether it was accepted.

        `asked_at` is when it was asked, by the process's own clock: an answer that a newer one
        has overtaken on its way is no fault of the server.
        """
        with self._lock:
            known = self.served
            if known is not None and (why := served.contradicts(known)):
                overtaken = self._confirmed_mono is not None and asked_at < self._confirmed_mono
                if not overtaken:
                    self._blame(f"{why} Its answer was not used.")
                return False
            changed = served != known
            self.served = served
            self.fault = ""
            self._confirmed_at, self._confirmed_mono = time.time(), time.monotonic()
            changed = self._note_pin(case, choice) or changed
        self._say("The server answers.")
        if changed or time.monotonic() - self._written_at >= WRITTEN_EVERY:
            self._write(durable=changed)
        return True

    def blame(self, why: str) -> None:
        """Remember why no fresh answer came."""
        with self._lock:
            self._blame(why)

    def _blame(self, why: str) -> None:
        self.fault = why
        self._say(f"{why} Going on with the last good answer, if there is one.", warn=True)

    def _say(self, sentence: str, *, warn: bool = False) -> None:
        """Log a change for the better or worse once, not with every request."""
        kind = "worse" if warn else "good"
        if kind != self._says:
            if warn or self._says:
                log.log(logging.WARNING if warn else logging.INFO, "%s", sentence)
            self._says = kind

    def _note_pin(self, case: str, choice: Choice) -> bool:
        """Remember a case that a person pinned to a release; returns whether that is news."""
        if self.served is not None and not self.served.has_pins and not self.served.switched_off:
            self._pins.clear()
        before = self._pins.pop(case, None)
        if case and choice.reason == "TARGETING_MATCH":
            self._pins[case] = choice
            while len(self._pins) > MOST_PINS:
                self._pins.popitem(last=False)
        return self._pins.get(case) != before

    def forget(self) -> None:
        """Know nothing any more, on disk neither."""
        with self._lock:
            self.served, self.fault = None, "It was forgotten."
            self._pins.clear()
            self._confirmed_at, self._confirmed_mono = 0.0, None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    # -- the file ------------------------------------------------------------------------------

    def _kept(self) -> dict[str, Any]:
        assert self.served is not None  # noqa: S101 - the caller has just set it
        return {
            "url": self._url,
            "workflow": self._workflow,
            "confirmed_at": self._confirmed_at,
            "served": self.served.as_json(),
            "pins": {
                case: [choice.release, choice.stage, choice.authority]
                for case, choice in self._pins.items()
            },
        }

    def _write(self, *, durable: bool) -> None:
        if self._path is None:
            return
        with self._write_lock:  # so that an older answer never overwrites a newer one
            with self._lock:
                if self.served is None:
                    return
                kept = self._kept()
                self._written_at = time.monotonic()
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                files.write(self._path, kept, durable=durable)
            except (OSError, ValueError) as error:
                log.warning("The last good answer is not kept on disk: %s", error)

    def load(self) -> None:
        """Take what the file says, when it is whole and about this server and workflow."""
        if self._path is None or not self._path.exists():
            return
        try:
            kept = files.read(self._path)
            if (kept["url"], kept["workflow"]) != (self._url, self._workflow):
                raise files.UnusableFileError(f"{self._path} is about another server or workflow.")
            served = Served.from_json(kept["served"])
            pins = {
                str(case): Choice(str(release), str(stage), str(authority), "TARGETING_MATCH")
                for case, (release, stage, authority) in kept["pins"].items()
            }
            confirmed_at = float(kept["confirmed_at"])
        except (
            files.UnusableFileError, BadAnswerError, KeyError, TypeError, ValueError, AttributeError
        ) as error:  # fmt: skip
            log.warning("Ignored the kept answer: %s", error)
            return
        if served.workflow == self._workflow:
            self._take(served, confirmed_at, "The answer is from the cache on disk.")
            self._pins.update(pins)

    def load_bundle(self, bundle: dict[str, Any]) -> None:
        """Take the answer of a bundle of `manage.py export_lkg`, unless a newer one is known."""
        served = Served.from_json(bundle["served"])
        if self.served is None or served.seq > self.served.seq:
            self._take(served, float(bundle["exported_at"]), "The answer is from the bundle.")

    def _take(self, served: Served, confirmed_at: float, why: str) -> None:
        self.served, self.fault = served, why
        self._confirmed_at, self._confirmed_mono = confirmed_at, None


def read_bundle(document: Any, workflow: str) -> dict[str, Any]:
    """Return the bundle when it is whole and about this workflow.

    Raises:
        BadAnswerError: it is damaged or something else.
    """
    try:
        body = {name: value for name, value in document.items() if name != "checksum"}
        if body["v"] != BUNDLE or digest(body) != document["checksum"]:
            raise BadAnswerError("The bundle is damaged: its checksum is another one.")
        if body["workflow"] != workflow or body["served"]["workflow"] != workflow:
            raise BadAnswerError(f"The bundle is about another workflow than {workflow}.")
        float(body["exported_at"])
        dict(body["releases"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"This is no bundle: {error!r}") from error
    return body
