"""How a workflow runs its releases: what its owner chooses."""

from __future__ import annotations

from django import forms

from governance.workflows.models import Workflow


class ModeForm(forms.Form):
    """Pull, push with an address and a secret's reference, or observe; and why."""

    mode = forms.ChoiceField(
        choices=Workflow.Mode.choices, error_messages={"required": "Choose pull, push or observe."}
    )
    push_url = forms.CharField(max_length=500, required=False)
    push_secret_ref = forms.CharField(max_length=200, required=False)
    reason = forms.CharField(
        max_length=500, error_messages={"required": "Write the reason: it is kept with the act."}
    )
