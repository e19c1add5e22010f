"""What people type into the exception queue and the token page."""

from __future__ import annotations

from typing import Any

from django import forms

from governance.people.models import ApiToken
from governance.workflows.models import Workflow


class CommentForm(forms.Form):
    """Why an exception is closed. Kept in the audit trail."""

    comment = forms.CharField(
        max_length=500, error_messages={"required": "Write a comment: it is kept with the act."}
    )


class TokenForm(forms.Form):
    """A new token for a machine."""

    name = forms.CharField(
        max_length=100, error_messages={"required": "Name the machine that will use it."}
    )
    scopes = forms.MultipleChoiceField(
        choices=ApiToken.Scope.choices,
        error_messages={"required": "Choose at least one scope: what the token may do."},
    )
    workflow = forms.CharField(max_length=100, required=False)
    days = forms.IntegerField(
        min_value=1,
        max_value=3650,
        required=False,
        error_messages={"max_value": "Ten years at most: a number from 1 to 3650."},
    )

    def clean_workflow(self) -> str:
        slug: Any = self.cleaned_data["workflow"]
        if slug and not Workflow.objects.filter(slug=slug).exists():
            raise forms.ValidationError("There is no such workflow.")
        return str(slug)
