"""Registering releases: components by digest, one manifest over the seven slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Max

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.canonical import canonical, digest_text, parse_json
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import has_role, register_rule, require
from governance.releases import schemas
from governance.releases.models import Component, Release, ReleaseComponent, Slot
from governance.workflows.models import Workflow

MANIFEST_VERSION = "countersign.release.v1"
# Bytes of canonical JSON: 100,000 documents with their hashes are 10 MB.
LARGEST_COMPONENT = 32 * 1024 * 1024

register_rule("release.register", has_role(User.Role.BUILDER), "Only a builder registers releases.")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A release as it would be stored: its digest, and each declared slot's canonical text."""

    digest: str
    manifest_text: str
    texts: Mapping[str, str]
    digests: Mapping[str, str]


def read_manifest(text: str | bytes) -> tuple[dict[str, Any], str]:
    """Return the slots of a manifest and its title: `{"title", "slots"}`, or the slots alone.

    Raises:
        InvalidInputError: it is not JSON, or no object.
    """
    body = parse_json(text)
    if not isinstance(body, dict):
        raise InvalidInputError("The manifest must be one JSON object with the slots in it.")
    slots, title = body.get("slots"), body.get("title")
    if isinstance(slots, dict):
        return slots, title if isinstance(title, str) else ""
    return body, ""


def prepare(workflow: Workflow, slots: Mapping[str, Any]) -> Prepared:
    """Check the content of a release and name it, without storing anything.

    Raises:
        InvalidInputError: an unknown slot, no slot at all, or content that a slot may not hold.
    """
    texts = _contents(slots)
    digests = {slot: digest_text(text) for slot, text in texts.items()}
    manifest_text = canonical(
        {
            "v": MANIFEST_VERSION,
            "workflow": workflow.slug,
            "slots": {slot: digests.get(slot) for slot in Slot.values},
        }
    )
    return Prepared(digest_text(manifest_text), manifest_text, texts, digests)


def register_release(
    workflow: Workflow, slots: Mapping[str, Any], *, title: str, actor: Actor | HasActor
) -> tuple[Release, bool]:
    """Store a release and return it, with whether it is new.

    Args:
        slots: content per slot; a slot that is missing or None is "not declared".

    The same content gives the same digest and so the same release, whoever sends it again.

    Raises:
        InvalidInputError: an unknown slot, no slot at all, or content that is not an object.
        NotAllowedError: a person who is not a builder.
    """
    person = actor if isinstance(actor, User) else None
    if person is not None:
        require(person, "release.register", workflow)
    prepared = prepare(workflow, slots)
    label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    with audit.atomic():
        Workflow.objects.select_for_update().get(pk=workflow.pk)
        existing = Release.objects.filter(pk=prepared.digest).first()
        if existing is not None:
            return existing, False
        moment = now()
        Component.objects.bulk_create(
            [
                Component(
                    digest=prepared.digests[slot],
                    slot=slot,
                    content_text=text,
                    author=person,
                    author_label=label,
                    created_at=moment,
                )
                for slot, text in prepared.texts.items()
            ],
            ignore_conflicts=True,
        )
        last = Release.objects.filter(workflow=workflow).aggregate(last=Max("number"))["last"]
        release = Release.objects.create(
            digest=prepared.digest,
            workflow=workflow,
            number=(last or 0) + 1,
            title=title.strip()[:200] or f"Release {(last or 0) + 1}",
            manifest_text=prepared.manifest_text,
            registered_by=person,
            registered_by_label=label,
            registered_at=moment,
        )
        ReleaseComponent.objects.bulk_create(
            [
                ReleaseComponent(release=release, component_id=digest, slot=slot)
                for slot, digest in prepared.digests.items()
            ]
        )
        audit.record(
            "release.registered", release, actor=actor, workflow=workflow.slug,
            digest=prepared.digest, title=release.title, slots=dict(prepared.digests),
        )  # fmt: skip
    return release, True


def _contents(slots: Mapping[str, Any]) -> dict[str, str]:
    """Return the canonical text per declared slot."""
    unknown = sorted(set(slots) - set(Slot.values))
    if unknown:
        raise InvalidInputError(
            f"Unknown slot {unknown[0]!r}. The slots are: {', '.join(Slot.values)}."
        )
    contents = {}
    for slot in Slot.values:
        content = slots.get(slot)
        if content is None:
            continue
        if not isinstance(content, Mapping) or not content:
            raise InvalidInputError(f"The slot {slot} must hold a JSON object with content.")
        # The slot is part of what is hashed, so equal content in two slots stays two components.
        try:
            text = canonical({"slot": slot, "content": dict(content)})
        except InvalidInputError as error:
            # In what the sender wrote, the content stands under the slot's own name.
            sentence = str(error).replace(" at content", f" at {slot}", 1)
            raise InvalidInputError(sentence) from error
        if len(text.encode()) > LARGEST_COMPONENT:
            raise InvalidInputError(
                f"The slot {slot} holds more than {LARGEST_COMPONENT // 2**20} MB."
            )
        schemas.check(slot, content)
        contents[slot] = text
    if not contents:
        raise InvalidInputError("A release declares at least one slot.")
    return contents


def verify_bytes(release: Release) -> None:
    """Recompute every digest of a release, so that what is decided on is what is stored.

    Raises:
        StateConflictError: the manifest or a component is not what its digest names.
    """
    declared = {
        slot: digest for slot, digest in release.manifest["slots"].items() if digest is not None
    }
    found = {}
    intact = digest_text(release.manifest_text) == release.digest
    for component in release.components.all():
        intact = intact and digest_text(component.content_text) == component.digest
        found[component.slot] = component.digest
    if not intact or found != declared:
        raise StateConflictError(
            f"The stored bytes of {release.name} are not what its digest names. Nothing can be"
            " decided on it; ask an administrator to check the database."
        )
