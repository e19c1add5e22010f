"""Which release to run: asked over OFREP, fetched once by its digest, verified, then built."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin

import requests
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from governance.common.canonical import digest
from governance.demo.support import WORKFLOW
from governance.demo.support.router import ReleaseError, Router, build
from governance.demo.support.tampering import Tampering, applied

log = logging.getLogger("governance.demo.support")
TIMEOUT = 3.0  # seconds
SWITCHED_OFF = "switched_off"  # the stage while the kill switch is on


@dataclass(frozen=True)
class Running:
    """A release that was verified and built. `cached`: the server could not be asked.

    `components` and `model` are what really runs, which is what receipts report: they differ from
    the release where somebody changed a setting on this machine.
    """

    release: str
    seq: int
    stage: str
    authority: str
    reason: str
    components: dict[str, str]  # digest per slot
    model: str
    router: Router
    cached: bool = False
    contents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


class ReleaseSource:
    """Knows the release that is live, and the last good one when nobody answers."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        workflow: str = WORKFLOW,
        tampering: Tampering | None = None,
    ) -> None:
        self._url = url.rstrip("/") + "/"
        self._workflow = workflow
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        api.set_provider(
            OFREPProvider(
                self._url,
                headers_factory=lambda: {"Authorization": f"Bearer {token}"},
                timeout=TIMEOUT,
            )
        )
        self._client = api.get_client()
        self._tampering = tampering or Tampering()
        self._tried: tuple[str, Mapping[str, Mapping[str, Any]]] = ("", {})
        self._last: Running | None = None
        self._is_away = False
        self._is_off = False

    def current(self, case_id: str) -> Running | None:
        """Return the release for this case, or the last good one when nobody can be asked.

        None: there never was one, or the workflow is switched off. Who was told so stays silent
        through an outage too, until the server says that something serves again.
        """
        found = self._client.get_object_details(
            self._workflow, {}, EvaluationContext(targeting_key=case_id)
        )
        value = found.value if isinstance(found.value, dict) else {}
        if found.error_code is None and value.get("stage") == SWITCHED_OFF:
            self._switched_off()
            return None
        if found.error_code is not None or not value.get("release"):
            return self._from_memory(f"Nobody says what is live: {found.error_message}")
        if self._last is None or self._last.release != value["release"]:
            try:
                self._last = self._fetch(value, str(found.reason))
            except (requests.RequestException, ReleaseError, KeyError, ValueError) as error:
                return self._from_memory(f"{value['release']} cannot be used: {error}")
            log.info("Now running %s", self._last.release)
        if self._is_off:
            log.info("Switched on again: %s answers.", self._last.release)
        self._is_away = self._is_off = False
        self._tamper()
        return replace(
            self._last,
            seq=int(value.get("seq", 0)),
            stage=str(value.get("stage", "")),
            authority=str(value.get("authority", "")),
            reason=str(found.reason),
        )

    def _switched_off(self) -> None:
        """Answer nothing, and say so once: an order to stop is no outage."""
        if not self._is_off:
            log.warning("%s is switched off: nothing is answered until it is on.", self._workflow)
        self._is_off, self._is_away = True, False

    def _from_memory(self, why: str) -> Running | None:
        """Return the last good release, and say once why it is not a fresh one."""
        if self._is_off:
            return None
        if not self._is_away:
            log.warning("%s Going on with the last good release, if there is one.", why)
        self._is_away = True
        self._tamper()
        return None if self._last is None else replace(self._last, cached=True)

    def _tamper(self) -> None:
        """Run what somebody changed on this machine, if anybody did. The claim stays as it was."""
        changes = self._tampering.changes()
        if self._last is None or (self._last.release, changes) == self._tried:
            return
        self._tried = (self._last.release, changes)
        runs = applied(self._last.contents, changes)
        if _digests(runs) == self._last.components:
            return
        try:
            router = build(runs)
        except (ReleaseError, KeyError, TypeError, ValueError) as error:
            log.warning("The changed settings cannot be run: %s", error)
            return
        log.info("Changed behind the release's back: %s", ", ".join(changes) or "nothing any more")
        self._last = replace(
            self._last, components=_digests(runs), model=str(runs["model"]["id"]), router=router
        )

    def _fetch(self, value: dict[str, Any], reason: str) -> Running:
        answer = self._session.get(urljoin(self._url, str(value["content_url"])), timeout=TIMEOUT)
        answer.raise_for_status()
        contents = verified(answer.json(), str(value["release"]))
        return Running(
            release=str(value["release"]),
            seq=int(value.get("seq", 0)),
            stage=str(value.get("stage", "")),
            authority=str(value.get("authority", "")),
            reason=reason,
            components=_digests(contents),
            model=str(contents["model"]["id"]),
            router=build(contents),
            contents=contents,
        )


def _digests(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the digest of each slot that runs, as Countersign computes it."""
    return {slot: digest({"slot": slot, "content": content}) for slot, content in contents.items()}


def verified(document: dict[str, Any], expected: str) -> dict[str, dict[str, Any]]:
    """Return the content per slot, after checking every digest up to the release's own.

    Raises:
        ReleaseError: something is not what its digest says.
    """
    if digest(document["manifest"]) != expected:
        raise ReleaseError("The manifest is not the one that the digest names.")
    contents: dict[str, dict[str, Any]] = {}
    for slot, named in document["manifest"]["slots"].items():
        if named is None:
            continue
        content = document["components"][slot]["content"]
        if digest({"slot": slot, "content": content}) != named:
            raise ReleaseError(f"The content of {slot} is not the one that the manifest names.")
        contents[slot] = content
    return contents
