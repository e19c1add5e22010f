"""What an application needs to start while Countersign is away, in one JSON document."""

from __future__ import annotations

from typing import Any

from governance.common.canonical import digest
from governance.common.errors import StateConflictError
from governance.common.time import true_now
from governance.releases.models import LiveRelease, Release
from governance.releases.services import verify_bytes
from governance.workflows.models import Workflow

VERSION = "countersign.bundle.v1"


def bundle_of(workflow: Workflow) -> dict[str, Any]:
    """The live answer, and the verified content of what serves and of the last known good.

    `checksum` is over the canonical JSON of everything else.

    Raises:
        StateConflictError: nothing is live, or stored bytes are not what their digest names.
    """
    live = LiveRelease.objects.select_related("workflow").filter(workflow=workflow).first()
    if live is None:
        raise StateConflictError("Nothing is live in this workflow.")
    off = live.switched_off
    served = {
        "workflow": workflow.slug, "seq": live.seq, "switched_off": off,
        "release": "" if off else live.release_id,
        "stage": "switched_off" if off else live.stage,
        "authority": "read_only" if off else workflow.authority,
        "has_pins": workflow.pins.exists(), "config": {},
        "pilot": None if off or live.pilot_release_id is None else {
            "release": live.pilot_release_id, "share": live.pilot_share,
            "salt": live.pilot_salt, "authority": live.pilot_authority or workflow.authority,
        },
    }  # fmt: skip
    wanted = {live.release_id, live.pilot_release_id, live.last_known_good_id} - {None}
    body = {
        "v": VERSION,
        "workflow": workflow.slug,
        "exported_at": true_now().timestamp(),
        "served": served,
        "last_known_good": live.last_known_good_id,
        "releases": {
            release.pk: _content(release)
            for release in Release.objects.filter(pk__in=wanted).prefetch_related("components")
        },
    }
    return {**body, "checksum": digest(body)}


def _content(release: Release) -> dict[str, Any]:
    verify_bytes(release)
    return {
        "manifest": release.manifest,
        "components": {
            component.slot: {"digest": component.digest, "content": component.content}
            for component in release.components.all()
        },
    }
