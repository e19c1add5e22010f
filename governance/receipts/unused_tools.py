"""Tools that a live release grants and no run has used for a month: rights to take back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from governance.common.time import now
from governance.receipts.observation_models import SlotObservation
from governance.releases.declared import RIGHTS
from governance.releases.models import Release, ReleaseApproval, ReleaseComponent, Slot

UNUSED_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class UnusedTool:
    """A tool that could be taken away. `last_used` is None when no run ever named it."""

    name: str
    right: str
    granted_since: datetime
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """When each tool of a workflow was last named by a run, and what follows from it."""

    last_used: Mapping[str, datetime]
    unused: tuple[UnusedTool, ...]
    named_since: datetime | None  # None: no run names its tools, so nothing can be said


def tool_use(release: Release) -> ToolUse:
    """Return when the tools of a release were used, and which of them could be taken away.

    A tool is proposed only when it has been granted for thirty days, runs have named their tools
    all that time and still do, and none of them named this one.
    """
    first, last = _named(release.workflow_id)
    if not last:
        return ToolUse({}, (), None)
    since = min(first.values())
    moment = now()
    horizon = moment - UNUSED_FOR
    if since > horizon or max(last.values()) < horizon:
        return ToolUse(last, (), since)
    granted = _granted_since(release)
    unused = tuple(
        UnusedTool(name, right, granted[name], last.get(name))
        for name, right in _rights(_tools_of(release)).items()
        if granted.get(name, moment) <= horizon and last.get(name, since) <= horizon
    )
    return ToolUse(last, unused, since)


def _named(workflow_id: int) -> tuple[dict[str, datetime], dict[str, datetime]]:
    """Return when each tool was first and last named, whichever release claimed the run."""
    first: dict[str, datetime] = {}
    last: dict[str, datetime] = {}
    for value, start, end in SlotObservation.objects.filter(
        workflow_id=workflow_id, slot=Slot.TOOLS, n__gt=0
    ).values_list("value", "first_at", "last_at"):
        if value.startswith("sha256:"):
            continue  # the digest of the slot says nothing about single tools
        name, _, right = value.rpartition(":")
        tool = name if name and right in RIGHTS else value
        first[tool] = min(start, first.get(tool, start))
        last[tool] = max(end, last.get(tool, end))
    return first, last


def _granted_since(release: Release) -> dict[str, datetime]:
    """Return since when each tool was granted by releases that were allowed to serve."""
    approved = list(
        ReleaseApproval.objects.filter(workflow_id=release.workflow_id)
        .order_by("valid_from")
        .values_list("release_id", "valid_from")
    )
    tools = {
        row.release_id: row.component.content
        for row in ReleaseComponent.objects.filter(
            slot=Slot.TOOLS, release_id__in={digest for digest, _ in approved}
        ).select_related("component")
    }
    found: dict[str, datetime] = {}
    for digest, start in approved:
        names = set(_rights(tools.get(digest, {})))
        # A tool that was taken away in between starts again.
        found = {name: since for name, since in found.items() if name in names}
        for name in names:
            found.setdefault(name, start)
    return found


def _tools_of(release: Release) -> dict[str, Any]:
    component = next((c for c in release.components.all() if c.slot == Slot.TOOLS), None)
    return component.content if component else {}


def _rights(content: Mapping[str, Any]) -> dict[str, str]:
    listed = content.get("tools")
    return {
        str(tool["name"]): str(tool.get("permission", "execute"))
        for tool in (listed if isinstance(listed, list) else ())
        if isinstance(tool, Mapping) and tool.get("name") and tool.get("permission") != "none"
    }
