"""One release on its page: seven slots declared and observed, where it was live, its lineage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Min, Q
from django.urls import reverse

from dashboards.observed import SlotState, states
from dashboards.slots import Fact, Tool, facts, readable_start, tools_of
from dashboards.workflow_page import Move
from governance.common.time import true_now
from governance.receipts.unused_tools import ToolUse, tool_use
from governance.releases import schemas
from governance.releases.diff import SLOT_NAMES
from governance.releases.models import Component, Release, ReleaseComponent, Slot
from governance.rollouts.models import Promotion


@dataclass(frozen=True, slots=True)
class SlotView:
    """One of the seven slots. `facts` is empty where the slot is not declared."""

    key: str
    name: str
    declared: bool
    observed: SlotState
    digest: str = ""
    facts: tuple[Fact, ...] = ()
    tools: tuple[Tool, ...] = ()
    unknown: tuple[str, ...] = ()
    content: str = ""
    is_whole: bool = True
    since: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """Another release of the line: how it is related, and what changed between the two."""

    word: str
    release: Release
    compare_url: str
    compare_word: str


def slot_views(release: Release, use: ToolUse | None) -> list[SlotView]:
    """The seven slots, each with the release that first had this very content."""
    components = {component.slot: component for component in release.components.all()}
    first = dict(
        ReleaseComponent.objects.filter(
            release__workflow=release.workflow_id, component__in=components.values()
        )
        .values_list("component_id")
        .annotate(first=Min("release__number"))
    )
    observed = states(release, {slot: found.pk for slot, found in components.items()})
    return [
        _view(slot, name, components.get(slot), observed[slot], release, first, use)
        for slot, name in SLOT_NAMES.items()
    ]


def _view(
    slot: str,
    name: str,
    component: Component | None,
    observed: SlotState,
    release: Release,
    first: Mapping[str, int],
    use: ToolUse | None,
) -> SlotView:
    if component is None:
        return SlotView(slot, name, declared=False, observed=observed)
    content, number = component.content, first[component.pk]
    text, is_whole = readable_start(content)
    tools = tools_of(content, use.last_used if use else None) if slot == Slot.TOOLS else ()
    rest = {key: value for key, value in content.items() if key != "tools"} if tools else content
    return SlotView(
        slot, name, declared=True, observed=observed, digest=component.pk, facts=facts(rest),
        tools=tools, unknown=tuple(schemas.unknown_names(slot, content)), content=text,
        is_whole=is_whole,
        since="new in this release" if number == release.number else f"unchanged since r{number}",
        author=component.author_label,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Revocation:
    """Rights that could be taken back, and the link that prepares a release without them."""

    use: ToolUse
    url: str
    days: int


def revocation(release: Release) -> Revocation:
    """Tools that the live release grants and nobody has used for thirty days."""
    use = tool_use(release)
    asked = [("from", release.pk), ("slot", Slot.TOOLS.value)]
    asked += [("without", tool.name) for tool in use.unused]
    url = f"{reverse('release-register', args=(release.workflow.slug,))}?{urlencode(asked)}"
    oldest = min((tool.last_used or tool.granted_since for tool in use.unused), default=None)
    return Revocation(use, url, (true_now() - oldest).days if oldest else 0)


def lineage(release: Release, moves: list[Move], promotions: list[Promotion]) -> list[Relation]:
    """What it came from, what came after it, and its neighbours by number where nothing else is."""
    related: dict[str, Relation] = {}
    for promotion in promotions:
        if promotion.base is not None:
            related.setdefault(promotion.base.pk, _came_from(promotion.base, release))
    for move in reversed(moves):
        if move.before is not None and move.before.pk == release.pk and move.to.pk != release.pk:
            word = "Rolled back to" if move.cause == "rollback" else "Followed by"
            related.setdefault(move.to.pk, _came_after(word, release, move.to))
    if not related:
        beside = Release.objects.filter(workflow=release.workflow_id).filter(
            Q(number=release.number - 1) | Q(number=release.number + 1)
        )
        for other in beside.select_related("workflow").order_by("number"):
            is_older = other.number < release.number
            related[other.pk] = (
                _came_from(other, release, "Registered after")
                if is_older
                else _came_after("Registered before", release, other)
            )
    return list(related.values())


def _came_from(older: Release, release: Release, word: str = "Came from") -> Relation:
    url = reverse("release-compare", args=(older.pk, release.pk))
    return Relation(word, older, url, f"What {release.name} changed")


def _came_after(word: str, release: Release, newer: Release) -> Relation:
    url = reverse("release-compare", args=(release.pk, newer.pk))
    return Relation(word, newer, url, f"What {newer.name} changes")
