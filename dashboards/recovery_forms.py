"""What people type when they go back: whom they asked, which case, which release, what for."""

from __future__ import annotations

from django import forms


class AskedForm(forms.Form):
    """Who was asked to switch a workflow that nobody here can switch."""

    whom = forms.CharField(
        max_length=200, error_messages={"required": "Say who was asked, and how."}
    )
