"""Registering a release: by content, idempotent, never changed afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from governance.audit.models import AuditEvent
from governance.common.canonical import canonical, digest, digest_text, parse_json
from governance.common.errors import InvalidInputError, NotAllowedError
from governance.people.models import User
from governance.releases.models import Component, Release
from governance.releases.services import register_release
from governance.workflows.models import Workflow
from tests.conftest import slots

pytestmark = pytest.mark.django_db


def test_the_same_content_is_the_same_release_whoever_sends_it(
    workflow: Workflow, builder: User
) -> None:
    first, new = register_release(workflow, slots(), title="One", actor=builder)
    shuffled = dict(reversed(slots().items()))
    again, new_again = register_release(workflow, shuffled, title="Two", actor=builder)
    assert (new, new_again) == (True, False)
    assert again.pk == first.pk
    assert again.title == "One"
    assert first.pk == digest_text(first.manifest_text)
    assert AuditEvent.objects.filter(verb="release.registered").count() == 1


def test_one_changed_byte_is_another_release_that_shares_the_other_components(
    workflow: Workflow, builder: User
) -> None:
    first, _ = register_release(workflow, slots(0.35), title="a", actor=builder)
    second, _ = register_release(workflow, slots(0.36), title="b", actor=builder)
    assert first.pk != second.pk
    assert (first.number, second.number) == (1, 2)
    assert Component.objects.count() == 8
    assert second.contents()["guardrails"] == slots(0.36)["guardrails"]


def test_a_slot_that_is_not_declared_stays_visible_as_none(
    workflow: Workflow, builder: User
) -> None:
    release, _ = register_release(workflow, {"model": {"id": "m"}}, title="", actor=builder)
    contents = release.contents()
    assert len(contents) == 7
    assert contents["feedback"] is None
    assert release.manifest["slots"]["feedback"] is None


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"colour": {"a": 1}},
        {"model": []},
        {"model": "gpt"},
        {"model": {}},
        {"model": {"cost": float("nan")}},
        {"model": {"seed": 2**60}},
        {"model": {"name": "\ud800"}},
        {"model": json.loads('{"a":' * 400 + "1" + "}" * 400)},
    ],
)
def test_what_cannot_be_hashed_is_refused_and_nothing_is_stored(
    workflow: Workflow, builder: User, bad: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError):
        register_release(workflow, bad, title="bad", actor=builder)
    assert not Release.objects.exists()
    assert not Component.objects.exists()


def test_only_a_builder_registers(workflow: Workflow, owner: User, cfo: User, admin: User) -> None:
    for person in (owner, cfo, admin):
        with pytest.raises(NotAllowedError):
            register_release(workflow, slots(), title="x", actor=person)


@pytest.mark.parametrize("table", [Release, Component])
def test_the_database_refuses_to_change_or_delete(
    workflow: Workflow, builder: User, table: Any
) -> None:
    register_release(workflow, slots(), title="x", actor=builder)
    field = {Release: "title", Component: "author_label"}[table]
    with pytest.raises(DatabaseError), transaction.atomic():
        table.objects.update(**{field: "other"})
    with pytest.raises(DatabaseError), transaction.atomic():
        table.objects.all()._raw_delete("default")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text('abcäé😀\n"'),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner),
        max_leaves=12,
    )
)
def test_canonical_json_survives_a_round_trip(value: Any) -> None:
    assert parse_json(canonical(value)) == value
    assert digest(parse_json(canonical(value))) == digest(value)


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":2}', "[NaN]", "{", "", "[" * 100_000, '{"a":Infinity}']
)
def test_json_that_is_not_plain_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_json(text)
