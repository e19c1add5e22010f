"""What each slot may say: known names have types, unknown ones are kept and flagged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rfc8785 import dumps

from governance.common.canonical import canonical, digest
from governance.common.errors import InvalidInputError
from governance.demo.support.library import open_library
from governance.demo.support.releases import RELEASES
from governance.people.models import User
from governance.releases import schemas
from governance.releases.models import Release, Slot
from governance.releases.services import register_release
from governance.workflows.models import Workflow
from tests.conftest import slots

DOCS = Path(__file__).resolve().parents[2] / "docs" / "slots.md"


@pytest.mark.parametrize(
    ("slot", "content", "sentence"),
    [
        ("model", {"id": 7}, "model.id must be text, not 7."),
        ("model", {"temperature": "warm"}, "model.temperature must be a number, not 'warm'."),
        ("model", {"neighbours": -1},
         "model.neighbours must be a whole number, 0 or more, not -1."),
        ("model", {"seed": True}, "model.seed must be a whole number, not True."),
        ("tools", {"tools": "all"}, "tools.tools must be a list of objects, not 'all'."),
        ("tools", {"tools": [{"permission": "read"}]}, "tools.tools[0].name is missing."),
        (
            "tools", {"tools": [{"name": "a"}, {"name": "b", "permission": "admin"}]},
            "tools.tools[1].permission must be one of none, read, write, execute, not 'admin'.",
        ),
        ("tools", {"tools": [{"name": "a"}, {"name": "a"}]}, "tools.tools lists 'a' twice."),
        ("retrieval", {"documents": [{"sha256": "a" * 64}]},
         "retrieval.documents[0].id is missing."),
        (
            "retrieval", {"documents": [{"id": "d"}, {"id": "d"}]},
            "retrieval.documents lists 'd' twice.",
        ),
        (
            "retrieval", {"documents": [{"id": "d"}], "count": 2},
            "retrieval.count says 2, but retrieval.documents lists 1. Mend the one that is wrong.",
        ),
        (
            "guardrails", {"confidence_threshold": 40},
            "guardrails.confidence_threshold must be a number from 0 to 1, not 40.",
        ),
        (
            "guardrails", {"always_escalate": ["fraud", 7]},
            "guardrails.always_escalate must be a list of texts, not a list with something else.",
        ),
        ("guardrails", {"currency": "euro"},
         "guardrails.currency must be a currency such as EUR, not 'euro'."),
        ("feedback", {"fine_tune_sha256": "abc"},
         "feedback.fine_tune_sha256 must be a SHA-256, 64 lower-case hexadecimal digits,"
         " not 'abc'."),
    ],
)  # fmt: skip
def test_a_wrong_type_under_a_known_name_is_refused_with_its_path(
    workflow: Workflow, builder: User, slot: str, content: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        register_release(workflow, {**slots(), slot: content}, title="x", actor=builder)
    assert str(refusal.value) == sentence
    assert not Release.objects.exists()


def test_money_may_be_a_number_or_text_but_not_a_word() -> None:
    allowed: list[Any] = [50, 0, 12.5, "50.00", "0"]
    for limit in allowed:
        schemas.check("tools", {"tools": [{"name": "refund", "money_limit": limit}]})
    refused: list[Any] = [-1, "fifty", "-1", "1e9", True, [50]]
    for limit in refused:
        with pytest.raises(InvalidInputError):
            schemas.check("tools", {"tools": [{"name": "refund", "money_limit": limit}]})


def test_unknown_names_are_kept_and_flagged(workflow: Workflow, builder: User) -> None:
    guardrails = {"confidence_threshold": 0.4, "house_rule": 7, "other": {"deep": [1]}}
    tools = {"tools": [{"name": "a", "colour": "red"}, {"name": "b", "colour": "blue"}]}
    release, _ = register_release(
        workflow, slots(guardrails=guardrails, tools=tools), title="x", actor=builder
    )
    assert release.contents()["guardrails"] == guardrails
    assert schemas.unknown_names("guardrails", guardrails) == ["house_rule", "other"]
    assert schemas.unknown_names("tools", tools) == ["tools[].colour"]


@pytest.mark.parametrize("demo", RELEASES, ids=lambda release: release.key)
def test_the_releases_of_the_demo_fit_and_are_flagged_nowhere(demo: Any) -> None:
    for slot, content in demo.slots(open_library()).items():
        schemas.check(slot, content)
        assert schemas.unknown_names(slot, content) == []


def test_a_digest_is_the_one_that_rfc_8785_itself_gives(workflow: Workflow, builder: User) -> None:
    release, _ = register_release(workflow, slots(), title="x", actor=builder)

    def named(value: Any) -> str:
        return "sha256:" + hashlib.sha256(dumps(value)).hexdigest()

    digests = {slot: named({"slot": slot, "content": content}) for slot, content in slots().items()}
    manifest = {"v": "countersign.release.v1", "workflow": workflow.slug, "slots": digests}
    assert release.pk == named(manifest)
    assert release.pk == ("sha256:a306066db014dc6a65315c2094493bcfae3ea96d61259aa95cfd615c7a2b5f0a")


def test_every_slot_has_a_schema_and_every_name_stands_in_the_documentation() -> None:
    assert set(schemas.SCHEMAS) == set(Slot.values)
    assert schemas.markdown() in DOCS.read_text()


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_the_fast_way_to_canonical_json_writes_the_same_bytes(value: Any) -> None:
    try:
        expected = dumps(value).decode()
    except Exception:
        with pytest.raises(InvalidInputError):
            canonical(value)
        return
    assert canonical(value) == expected
    assert digest(value).startswith("sha256:")


@pytest.mark.parametrize(
    "number", [1.0, -0.0, 1e-5, 1e-7, 1e16, 1e21, 1.5, 0.1, 123456789.125, 5e-324, 1.7e308]
)
def test_numbers_are_written_as_ecmascript_writes_them(number: float) -> None:
    assert canonical([number, {"a": number}]) == dumps([number, {"a": number}]).decode()
