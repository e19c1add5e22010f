"""What people type about suites: a case, why something is frozen, what is filtered."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.http import QueryDict

from dashboards.hostile import hides_something
from dashboards.windows import words
from governance.common.canonical import digest, parse_json
from governance.common.errors import InvalidInputError
from governance.evals.case_files import LARGEST_FILE
from governance.evals.cases import LARGEST_CASE, LONGEST, Row
from governance.evals.models import Case
from governance.evals.suite_lists import Asked

# Expectations that the form has a field for; every other one stands in its JSON.
ANSWER, MUST, MUST_NOT = "answer", "must_escalate", "must_not_escalate"


def asked_of(asked: QueryDict) -> Asked:
    """Return which cases the query string asks for."""
    group = asked.get("group", "")
    return Asked(
        category=words(asked, "category"),
        segment=words(asked, "segment"),
        channel=channel if (channel := asked.get("channel", "")) in Case.Channel.values else "",
        must_pass=asked.get("must_pass") == "1",
        look_alikes={"attacks": False, "look-alikes": True}.get(group),
        text=words(asked, "text"),
        after=words(asked, "after"),
    )


class CaseForm(forms.Form):
    """One case of a suite. What it cannot show in a field of its own stands as JSON."""

    key = forms.CharField(max_length=120, required=False)
    text = forms.CharField(max_length=LARGEST_CASE, required=False, strip=False)
    more = forms.CharField(max_length=LARGEST_CASE, required=False)
    answer = forms.CharField(max_length=LARGEST_CASE, required=False)
    must_escalate = forms.BooleanField(required=False)
    must_not_escalate = forms.BooleanField(required=False)
    expected = forms.CharField(max_length=LARGEST_CASE, required=False)
    category = forms.CharField(max_length=LONGEST["category"], required=False)
    segment = forms.CharField(max_length=LONGEST["segment"], required=False)
    cluster = forms.CharField(max_length=LONGEST["cluster"], required=False)
    channel = forms.ChoiceField(choices=(("", "–"), *Case.Channel.choices), required=False)
    must_pass = forms.BooleanField(required=False)
    reason = forms.CharField(max_length=LONGEST["reason"], required=False)
    seen = forms.CharField(max_length=71, required=False)

    def clean_more(self) -> Row:
        return _object(self.cleaned_data["more"], "The further input")

    def clean_expected(self) -> Row:
        return _object(self.cleaned_data["expected"], "The further expectation")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        if cleaned["must_escalate"] and cleaned["must_not_escalate"]:
            raise forms.ValidationError(
                "A case cannot both have to reach a person and have to be answered without one."
            )
        if not cleaned["text"].strip() and not cleaned["more"]:
            raise forms.ValidationError("Write what is asked: the text of the case.")
        return cleaned

    def row(self, *, kept: Row | None = None) -> Row:
        """Return the case that was typed; `kept` is the one that it replaces."""
        said = self.cleaned_data
        asked = dict(said["more"])
        if said["text"].strip():
            # A browser sends CR LF; the text that was pasted had its own ends of lines.
            asked["text"] = said["text"].replace("\r\n", "\n")
        expected = dict(said["expected"])
        if said["answer"]:
            expected[ANSWER] = said["answer"].replace("\r\n", "\n")
        for name in (MUST, MUST_NOT):
            if said[name]:
                expected[name] = True
        row: Row = {"key": said["key"] or f"case-{digest(asked)[7:15]}", "input": asked}
        row["expected"] = expected
        for name in ("category", "segment", "cluster", "channel", "reason", "must_pass"):
            row[name] = said[name]
        if kept is not None:
            row["source"] = kept["source"]
            row["labelled_by_label"] = kept["labelled_by_label"]
        return row


def _object(text: str, what: str) -> Row:
    if not text.strip():
        return {}
    try:
        value = parse_json(text)
    except InvalidInputError as error:
        raise forms.ValidationError(f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise forms.ValidationError(f'{what} is one JSON object, such as {{"language": "en"}}.')
    return value


def typed_of(row: Row) -> dict[str, Any]:
    """Return what the form shows of a case."""
    asked, expected = dict(row["input"]), dict(row["expected"])
    text = asked.pop("text") if _is_plain(asked.get("text")) else ""
    answer = expected.pop(ANSWER) if _is_plain(expected.get(ANSWER)) else ""
    flags = {name: expected.pop(name, None) is True for name in (MUST, MUST_NOT)}
    return {
        **row, "text": text, "more": _json(asked), "answer": answer, "expected": _json(expected),
        **flags,
    }  # fmt: skip


def _is_plain(text: object) -> bool:
    """Whether a text field shows it as it is. Pages mark what hides, so that goes as JSON."""
    return isinstance(text, str) and not hides_something(text)


def _json(value: Row) -> str:
    if not value:
        return ""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return json.dumps(value, indent=2, sort_keys=True) if hides_something(text) else text


class WhyForm(forms.Form):
    """Why a version is frozen or a case goes; `mark` is what the person was looking at."""

    reason = forms.CharField(
        max_length=500, error_messages={"required": "Write the reason: it is kept with the act."}
    )
    mark = forms.CharField(max_length=71, required=False)


LONGEST_NAME = 200  # of a file
PREVIEW, IMPORT = "preview", "import"
DRAFT, VERSION = "draft", "version"


class ImportForm(forms.Form):
    """A file of cases: chosen, or kept in the page since the preview."""

    act = forms.ChoiceField(choices=((PREVIEW, "Preview"), (IMPORT, "Import")))
    into = forms.ChoiceField(choices=((DRAFT, "The draft"), (VERSION, "A new version")))
    upload = forms.FileField(
        required=False, error_messages={"empty": "The file is empty. Choose another one."}
    )
    kept = forms.CharField(required=False)
    name = forms.CharField(max_length=LONGEST_NAME, required=False)
    replaces = forms.BooleanField(required=False)
    reason = forms.CharField(max_length=LONGEST["reason"], required=False)
    channel = forms.ChoiceField(choices=(("", "–"), *Case.Channel.choices), required=False)
    seen = forms.CharField(max_length=71, required=False)

    def clean_upload(self) -> Any:
        upload = self.cleaned_data["upload"]
        if upload is not None and upload.size > LARGEST_FILE:
            raise forms.ValidationError(f"The file is larger than {LARGEST_FILE // 2**20} MB.")
        return upload

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors and cleaned["upload"] is None and not cleaned["kept"]:
            raise forms.ValidationError("Choose the file.")
        return cleaned
