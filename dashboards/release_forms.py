"""What a builder types to register a release."""

from __future__ import annotations

from typing import Any

from django import forms

from governance.releases.models import Slot

LARGEST_FILE = 32 * 1024 * 1024  # bytes; 100,000 documents with their hashes are 10 MB
FILE, SLOT = "file", "slot"
PREVIEW, REGISTER = "preview", "register"


class RegisterForm(forms.Form):
    """A whole manifest, pasted or uploaded, or one slot of an existing release."""

    way = forms.ChoiceField(choices=((FILE, "A whole manifest"), (SLOT, "One slot")))
    act = forms.ChoiceField(choices=((PREVIEW, "Preview"), (REGISTER, "Register")))
    title = forms.CharField(max_length=200, required=False)
    manifest = forms.CharField(required=False, strip=False)
    upload = forms.FileField(
        required=False, error_messages={"empty": "The file is empty. Choose another one."}
    )
    base = forms.CharField(max_length=71, required=False)
    slot = forms.ChoiceField(choices=Slot.choices, required=False)
    content = forms.CharField(required=False, strip=False)
    seen = forms.CharField(max_length=71, required=False)

    def clean_upload(self) -> Any:
        upload = self.cleaned_data["upload"]
        if upload is not None and upload.size > LARGEST_FILE:
            raise forms.ValidationError(
                f"The file is larger than {LARGEST_FILE // 2**20} MB. Take the documents that no"
                " run reads out of it, or name the corpus by its root hash and count."
            )
        return upload

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("way") == SLOT:
            if not cleaned.get("slot") or not cleaned.get("base"):
                raise forms.ValidationError("Choose the release to start from, and one slot.")
        elif not self.errors and not cleaned.get("upload") and not cleaned["manifest"].strip():
            raise forms.ValidationError("Paste the manifest, or choose its file.")
        return cleaned
