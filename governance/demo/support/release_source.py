"""Which release to run: asked over OFREP, fetched once by its digest, verified, then built."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin

import requests
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from governance.common.canonical import digest
from governance.demo.support import WORKFLOW
from governance.demo.support.router import ReleaseError, Router, build

log = logging.getLogger("governance.demo.support")
TIMEOUT = 3.0  # seconds


@dataclass(frozen=True)
class Running:
    """A release that was verified and built. `cached`: the server could not be asked."""

    release: str
    seq: int
    stage: str
    authority: str
    reason: str
    components: dict[str, str]  # digest per slot
    model: str
    router: Router
    cached: bool = False


class ReleaseSource:
    """Knows the release that is live, and the last good one when nobody answers."""

    def __init__(self, url: str, token: str, *, workflow: str = WORKFLOW) -> None:
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
        self._last: Running | None = None
        self._is_away = False

    def current(self, case_id: str) -> Running | None:
        """Return the release for this case, or the last good one; None when there never was one."""
        found = self._client.get_object_details(
            self._workflow, {}, EvaluationContext(targeting_key=case_id)
        )
        value = found.value if isinstance(found.value, dict) else {}
        if found.error_code is not None or not value.get("release"):
            return self._from_memory(f"Nobody says what is live: {found.error_message}")
        if self._last is None or self._last.release != value["release"]:
            try:
                self._last = self._fetch(value, str(found.reason))
            except (requests.RequestException, ReleaseError, KeyError, ValueError) as error:
                return self._from_memory(f"{value['release']} cannot be used: {error}")
            log.info("Now running %s", self._last.release)
        self._is_away = False
        return replace(
            self._last,
            seq=int(value.get("seq", 0)),
            stage=str(value.get("stage", "")),
            authority=str(value.get("authority", "")),
            reason=str(found.reason),
        )

    def _from_memory(self, why: str) -> Running | None:
        """Return the last good release, and say once why it is not a fresh one."""
        if not self._is_away:
            log.warning("%s Going on with the last good release, if there is one.", why)
        self._is_away = True
        return None if self._last is None else replace(self._last, cached=True)

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
            components={
                slot: digest({"slot": slot, "content": content})
                for slot, content in contents.items()
            },
            model=str(contents["model"]["id"]),
            router=build(contents),
        )


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
