"""Registering a release on a page: what was typed, what it would change, and what CI would send."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dashboards.release_forms import FILE, SLOT
from dashboards.slots import readable
from governance.common.canonical import parse_json
from governance.common.errors import InvalidInputError
from governance.releases import schemas, services
from governance.releases.diff import ReleaseDiff, compare
from governance.releases.models import LiveRelease, Release, Slot
from governance.workflows.models import Workflow

KEPT = 1_000_000  # characters that stay in the form; a larger file is chosen once more

Slots = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Typed:
    """What stands in the form."""

    way: str = FILE
    title: str = ""
    manifest: str = ""
    base: str = ""
    slot: str = ""
    content: str = ""
    note: str = ""

    @property
    def is_slot(self) -> bool:
        return self.way == SLOT


@dataclass(frozen=True, slots=True)
class Preview:
    """What registering would store, and what that changes against what is live."""

    digest: str
    existing: Release | None
    against: Release | None
    diff: ReleaseDiff
    unknown: tuple[tuple[str, tuple[str, ...]], ...]
    missing: tuple[str, ...]
    choose_again: bool = field(default=False)


def start(workflow: Workflow, asked: Mapping[str, str], without: Sequence[str]) -> Typed:
    """Return the form as a link asks for it: a release to start from, a slot, tools to drop."""
    base = Release.objects.filter(workflow=workflow, pk=asked.get("from", "")).first()
    slot = asked.get("slot", "")
    if base is None or slot not in Slot.values:
        return Typed(way=SLOT if "from" in asked else FILE, base=base.pk if base else "")
    content = base.contents()[slot]
    note = ""
    if content is not None and slot == Slot.TOOLS and without:
        content, gone = _without_tools(content, without)
        note = f"Prepared without {', '.join(gone)}." if gone else ""
    text = readable(content) if content is not None else ""
    if len(text) > KEPT:
        return Typed(
            way=SLOT, base=base.pk, slot=slot,
            note="This slot is too large to be edited on a page. Download the release as a file,"
            " change it, and upload it here.",
        )  # fmt: skip
    return Typed(way=SLOT, base=base.pk, slot=slot, content=text, note=note)


def _without_tools(
    content: Mapping[str, Any], without: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    listed = content.get("tools")
    if not isinstance(listed, list):
        return dict(content), []
    gone = [
        str(tool["name"])
        for tool in listed
        if isinstance(tool, Mapping) and tool.get("name") in without
    ]
    kept = [tool for tool in listed if not (isinstance(tool, Mapping) and tool.get("name") in gone)]
    return {**content, "tools": kept}, gone


def text_of(said: Mapping[str, Any]) -> tuple[str | bytes, Typed]:
    """Return what was typed or uploaded, and what stays in the form whatever comes of it.

    Raises:
        InvalidInputError: the file is no text.
    """
    typed = typed_of(said)
    if typed.is_slot:
        return typed.content, typed
    if (upload := said["upload"]) is None:
        return typed.manifest, typed
    raw: bytes = upload.read()
    return raw, replace(typed, manifest=_as_text(raw))


def slots_of(workflow: Workflow, typed: Typed, text: str | bytes) -> tuple[Slots, Typed]:
    """Return the slots that were written, and the form with the title that the file gives.

    Raises:
        InvalidInputError: with the sentence for the person, and where it is wrong.
    """
    if typed.is_slot:
        return _edited(workflow, typed), typed
    slots, title = services.read_manifest(text)
    return slots, replace(typed, title=typed.title or title[:200])


def typed_of(said: Mapping[str, Any]) -> Typed:
    return Typed(
        way=said.get("way") or FILE,
        title=said.get("title") or "",
        manifest=said.get("manifest") or "",
        base=said.get("base") or "",
        slot=said.get("slot") or "",
        content=said.get("content") or "",
    )


def _as_text(raw: bytes) -> str:
    """The uploaded text for the form; nothing where it would not fit or is no text."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError("The file is not text in UTF-8.") from error
    return text if len(text) <= KEPT else ""


def _edited(workflow: Workflow, typed: Typed) -> Slots:
    base = Release.objects.filter(workflow=workflow, pk=typed.base).first()
    if base is None:
        raise InvalidInputError("That release is not one of this workflow. Choose another one.")
    slots: Slots = {slot: content for slot, content in base.contents().items() if content}
    slot, text = typed.slot, typed.content.strip()
    if not text:
        slots.pop(slot, None)
        return slots
    try:
        slots[slot] = parse_json(text)
    except InvalidInputError as error:
        raise InvalidInputError(f"{Slot(slot).label}: {error}") from error
    return slots


def preview(workflow: Workflow, slots: Slots, typed: Typed) -> Preview:
    """Return what registering this would change against what is live now.

    Raises:
        InvalidInputError: it cannot be registered.
    """
    prepared = services.prepare(workflow, slots)
    live = LiveRelease.objects.filter(workflow=workflow).select_related("release").first()
    against = live.release if live is not None else None
    declared = {slot: slots.get(slot) for slot in Slot.values}
    return Preview(
        digest=prepared.digest,
        existing=Release.objects.filter(pk=prepared.digest).first(),
        against=against,
        diff=compare(against.contents() if against else {}, declared),
        unknown=tuple(
            (Slot(slot).label, names)
            for slot, content in declared.items()
            if content and (names := tuple(schemas.unknown_names(slot, content)))
        ),
        missing=tuple(Slot(slot).label for slot, content in declared.items() if not content),
        choose_again=not typed.is_slot and not typed.manifest,
    )


def as_file(release: Release) -> str:
    """A release as the file that registers it: what this page and CI take."""
    slots = {slot: content for slot, content in release.contents().items() if content}
    return json.dumps(
        {"title": release.title, "slots": slots}, indent=1, sort_keys=True, ensure_ascii=False
    )


def curl_snippet(slug: str, site: str) -> str:
    """The command that registers `release.json`, for any shell."""
    return (
        f"curl --fail-with-body --silent --show-error \\\n"
        f"  {site}/api/v1/workflows/{slug}/releases \\\n"
        f'  -H "Authorization: Bearer $COUNTERSIGN_TOKEN" \\\n'
        f"  -H 'Content-Type: application/json' \\\n"
        f"  --data-binary @release.json"
    )


def workflow_snippet(slug: str, site: str) -> str:
    """The same as a step of GitHub Actions, or of what reads its files."""
    command = curl_snippet(slug, site).replace("\n", "\n          ")
    return (
        "name: Register the release\n"
        "on:\n"
        "  push:\n"
        "    branches: [main]\n"
        "    paths: [release.json]\n"
        "jobs:\n"
        "  register:\n"
        "    runs-on: ubuntu-latest\n"
        "    steps:\n"
        "      - uses: actions/checkout@v4\n"
        "      - name: Register with Countersign\n"
        "        env:\n"
        "          COUNTERSIGN_TOKEN: ${{ secrets.COUNTERSIGN_TOKEN }}\n"
        "        run: |\n"
        f"          {command}\n"
    )


def gate_snippet(slug: str, site: str) -> str:
    """A pipeline that registers, proposes and goes green with the gate, for the client's command.

    `COUNTERSIGN_CLIENT` is where the team keeps the client's wheel; no registry is assumed.
    """
    return (
        "name: Propose the release\n"
        "on:\n"
        "  push:\n"
        "    branches: [main]\n"
        "    paths: [release.json]\n"
        "jobs:\n"
        "  gate:\n"
        "    runs-on: ubuntu-latest\n"
        "    steps:\n"
        "      - uses: actions/checkout@v4\n"
        "      - run: pip install ${{ vars.COUNTERSIGN_CLIENT }}\n"
        "      - name: Ask the gate\n"
        "        env:\n"
        f"          COUNTERSIGN_URL: {site}\n"
        "          COUNTERSIGN_TOKEN: ${{ secrets.COUNTERSIGN_TOKEN }}\n"
        "          WHY: ${{ github.event.head_commit.message }}\n"
        "        run: |\n"
        f"          countersign gate --workflow {slug} --release release.json \\\n"
        '            --rationale "$WHY" --junit gate.xml\n'
    )
