"""Registering a release on a page: typed or uploaded, seen, then registered."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from dashboards import registering
from dashboards.registering import curl_snippet, gate_snippet, workflow_snippet
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.conftest import slots

Login = Callable[[User], Client]
Make = Callable[..., Release]
URL = "/workflows/support-triage/releases/register/"


def preview(client: Client, **said: Any) -> Any:
    return client.post(URL, {"way": "file", "act": "preview", **said})


def seen_on(page: str) -> str:
    """The digest of the preview, as the form sends it back."""
    return page.split('name="seen" value="')[1].split('"')[0]


def test_what_it_changes_is_seen_before_it_is_registered(
    live: Release, builder: User, login: Login
) -> None:
    client = login(builder)
    contents = {slot: content for slot, content in live.contents().items() if content}
    contents["guardrails"] = {"escalation_threshold": 0.2, "always_escalate": ["fraud"], "mood": 1}
    manifest = json.dumps({"title": "Lower", "slots": contents})

    answer = preview(client, manifest=manifest)
    page = unescape(answer.content.decode())
    assert answer.status_code == 200
    assert "What changes against live" in page
    assert "The escalation threshold goes from 0.35 to 0.20." in page
    assert "A weaker guardrail" in page
    assert "High risk" in page
    assert "Not in the schema" in page
    assert "<code>mood</code>" in page
    assert manifest in page
    assert 'value="Lower"' in page
    assert Release.objects.count() == 1

    done = client.post(
        URL, {"way": "file", "act": "register", "manifest": manifest, "seen": seen_on(page)}
    )
    release = Release.objects.get(number=2)
    assert done["Location"] == reverse("release", args=(release.pk,))
    assert (release.title, release.registered_by) == ("Lower", builder)
    assert release.contents()["guardrails"] == contents["guardrails"]


def test_what_was_not_previewed_is_not_registered(
    workflow: Workflow, builder: User, login: Login
) -> None:
    client = login(builder)
    page = preview(client, manifest=json.dumps(slots())).content.decode()
    for seen in ("", seen_on(page)):
        answer = client.post(
            URL,
            {"way": "file", "act": "register", "manifest": json.dumps(slots(0.9)), "seen": seen},
        )
        assert answer.status_code == 409
        assert "not what the preview showed" in answer.content.decode()
    assert not Release.objects.exists()


def test_content_that_is_registered_already_is_named(
    make_release: Make, workflow: Workflow, builder: User, login: Login
) -> None:
    release, client = make_release(), login(builder)
    answer = preview(client, manifest=json.dumps(slots()))
    page = answer.content.decode()
    assert "This content is registered already" in page
    assert "Register it" not in page
    done = client.post(
        URL,
        {"way": "file", "act": "register", "manifest": json.dumps(slots()), "seen": seen_on(page)},
    )
    assert done["Location"] == reverse("release", args=(release.pk,))
    assert Release.objects.count() == 1


def test_a_file_is_taken_like_text_and_stays_in_the_form(
    workflow: Workflow, builder: User, login: Login
) -> None:
    client = login(builder)
    text = json.dumps({"model": {"id": "m"}})
    page = preview(client, upload=SimpleUploadedFile("r.json", text.encode())).content.decode()
    assert text in unescape(page)
    assert "nothing is live yet" in page
    assert "Not declared" in page
    done = client.post(
        URL, {"way": "file", "act": "register", "manifest": text, "seen": seen_on(page)}
    )
    assert done.status_code == 302


def test_a_file_too_large_for_the_page_is_chosen_once_more(
    workflow: Workflow, builder: User, login: Login, monkeypatch: Any
) -> None:
    monkeypatch.setattr(registering, "KEPT", 100)
    client = login(builder)
    text = json.dumps(slots()).encode()
    page = preview(client, upload=SimpleUploadedFile("r.json", text)).content.decode()
    assert "choose it again" in page
    assert text.decode() not in unescape(page)
    again = {"way": "file", "act": "register", "seen": seen_on(page)}
    assert client.post(URL, again).status_code == 422
    again["upload"] = SimpleUploadedFile("r.json", text)  # type: ignore[assignment]
    assert client.post(URL, again).status_code == 302
    assert Release.objects.count() == 1


def test_each_refusal_says_where_it_is_wrong_and_keeps_what_was_typed(
    workflow: Workflow, builder: User, login: Login
) -> None:
    client = login(builder)
    deep = '{"model": {"a": ' + '{"a":' * 60 + "1" + "}" * 60 + "}}"
    for text, sentence in {
        '{"model": {"id": "a", "id": "b"}}': "The key 'id' stands twice in the object at model",
        '{"model": {"seed": NaN}}': "NaN is no JSON number at model.seed",
        '{"model": {"id": 1}}': "model.id must be text, not 1",
        '{"modell": {"id": "a"}}': "Unknown slot 'modell'",
        '{"model": ': "This is not valid JSON",
        "[]": "must be one JSON object",
        "{}": "declares at least one slot",
        deep: "nested deeper than 32 levels at model.a",
        '{"model": {"name": "\\ud800"}}': "half of a character at model.name",
    }.items():
        answer = preview(client, manifest=text, title="Kept")
        page = unescape(answer.content.decode())
        assert answer.status_code == 422, text
        assert sentence in page
        assert text in page
        assert 'value="Kept"' in page
    empty = preview(client, manifest="  ")
    assert (empty.status_code, b"Paste the manifest" in empty.content) == (422, True)
    odd = preview(client, upload=SimpleUploadedFile("r.json", b"\xff\xfe{"))
    assert (odd.status_code, b"not text in UTF-8" in odd.content) == (422, True)
    assert not Release.objects.exists()


def test_a_paste_beyond_what_a_form_takes_says_so(
    workflow: Workflow, builder: User, login: Login
) -> None:
    answer = preview(login(builder), manifest=" " * (4 * 2**20 + 1))
    assert answer.status_code == 413
    assert "Choose a manifest as a file instead" in answer.content.decode()


def test_a_file_beyond_the_limit_is_refused_with_a_sentence(
    workflow: Workflow, builder: User, login: Login, monkeypatch: Any
) -> None:
    monkeypatch.setattr("dashboards.release_forms.LARGEST_FILE", 10)
    answer = preview(login(builder), upload=SimpleUploadedFile("r.json", b"{}" + b" " * 20))
    assert answer.status_code == 422
    assert "The file is larger than" in answer.content.decode()


def test_one_slot_of_a_release_is_edited_beside_its_schema(
    make_release: Make, workflow: Workflow, builder: User, login: Login
) -> None:
    base, client = make_release(), login(builder)
    page = unescape(client.get(f"{URL}?from={base.pk}&slot=guardrails").content.decode())
    assert '"escalation_threshold": 0.35' in page
    assert "always_escalate" in page
    assert "What always goes to a person. More is stricter" in page

    said = {
        "way": "slot", "base": base.pk, "slot": "guardrails", "title": "Lower",
        "content": '{"escalation_threshold": 0.2}',
    }  # fmt: skip
    page = client.post(URL, {**said, "act": "preview"}).content.decode()
    client.post(URL, {**said, "act": "register", "seen": seen_on(page)})
    release = Release.objects.get(number=2)
    expected = {**base.contents(), "guardrails": {"escalation_threshold": 0.2}}
    assert release.contents() == expected

    broken = client.post(URL, {**said, "act": "preview", "content": '{"a": '})
    assert broken.status_code == 422
    assert "Guardrails: This is not valid JSON" in broken.content.decode()

    page = client.post(URL, {**said, "act": "preview", "content": ""}).content.decode()
    client.post(URL, {**said, "content": "", "act": "register", "seen": seen_on(page)})
    assert Release.objects.get(number=3).contents()["guardrails"] is None


def test_a_link_prepares_a_release_without_some_tools(
    make_release: Make, workflow: Workflow, builder: User, login: Login
) -> None:
    tools = [{"name": name, "permission": "read"} for name in ("orders", "payments", "mail")]
    base = make_release(tools={"tools": tools})
    url = f"{URL}?from={base.pk}&slot=tools&without=payments&without=mail&without=other"
    page = unescape(login(builder).get(url).content.decode())
    assert '"name": "orders"' in page
    assert '"name": "payments"' not in page
    assert "Prepared without payments, mail." in page


def test_a_release_of_another_workflow_is_not_the_base(
    make_release: Make, workflow: Workflow, builder: User, login: Login
) -> None:
    said = {"way": "slot", "act": "preview", "base": "sha256:" + "0" * 64, "slot": "model"}
    answer = login(builder).post(URL, {**said, "content": "{}"})
    assert answer.status_code == 422
    assert "not one of this workflow" in answer.content.decode()


def test_hostile_names_are_shown_as_text(workflow: Workflow, builder: User, login: Login) -> None:
    text = json.dumps({"model": {"<script>alert(1)</script>": "</textarea><script>x"}})
    page = preview(login(builder), manifest=text).content.decode()
    assert "<script>alert" not in page
    assert "</textarea><script>" not in page


def test_the_snippets_name_this_site_and_this_workflow(
    workflow: Workflow, builder: User, login: Login
) -> None:
    page = unescape(login(builder).get(URL).content.decode())
    for snippet in (curl_snippet, workflow_snippet, gate_snippet):
        assert snippet("support-triage", "http://testserver") in page


def test_a_downloaded_release_registers_the_same_release(
    make_release: Make, workflow: Workflow, builder: User, login: Login
) -> None:
    release, client = make_release(), login(builder)
    text = client.get(reverse("release-file", args=(release.pk,))).content.decode()
    page = preview(client, manifest=text).content.decode()
    assert seen_on(page) == release.pk


def test_the_documentation_shows_the_same_file_for_ci() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs" / "integrating.md"
    for snippet in (workflow_snippet, gate_snippet):
        assert snippet("support-triage", "https://countersign.example") in docs.read_text()
