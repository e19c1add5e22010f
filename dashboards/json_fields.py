"""JSON that people type into a field of a form."""

from __future__ import annotations

from typing import Any

from django import forms

from governance.common.canonical import parse_json
from governance.common.errors import InvalidInputError

LONGEST = 64 * 1024  # characters
CODE = {"class": "code", "spellcheck": "false"}


class JsonTextField(forms.CharField):
    """JSON in a text area; empty is None."""

    widget = forms.Textarea(attrs={**CODE, "rows": 5})

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=LONGEST, strip=False, required=False, **options)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text.strip():
            return None
        try:
            return parse_json(text)
        except InvalidInputError as error:
            raise forms.ValidationError(str(error)) from error
