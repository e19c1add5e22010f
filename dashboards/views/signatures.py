"""One signature: who decided what, as what, why, how they proved who they are, on which bytes."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET

from dashboards.hostile import reveal_json
from dashboards.http import UserRequest
from governance.audit.models import AuditEvent
from governance.common.canonical import digest_text, is_digest
from governance.people.models import Signature
from governance.rollouts.signed import events_of, may_read_signature, meaning_in_words

# What a signed digest is, and the page that shows it.
DIGESTS = {
    "candidate_digest": ("Candidate", "release"),
    "base_digest": ("Live when asked", "release"),
    "release": ("Release", "release"),
    "gate_report_digest": ("Gate report", "gate-report"),
    "gate_policy_digest": ("Gate policy", ""),
}
FACTS = {
    "workflow": "Workflow", "decision": "Decision", "round": "Round", "title": "Envelope",
    "slot": "Slot", "most_documents_changed": "Documents changed at most",
    "uses_per_week": "Uses a week at most", "valid_from": "From", "valid_to": "Until",
    "planned_for": "Planned for", "seq": "Live change", "promotion": "Promotion",
}  # fmt: skip


@require_GET
@login_required
def signature(request: UserRequest, digest: str) -> HttpResponse:
    """The manifest that was signed, with its digest computed again."""
    found = get_object_or_404(Signature.objects.select_related("signer"), pk=digest)
    if not may_read_signature(request.user, found):
        raise Http404
    manifest = found.manifest
    subject = manifest.get("subject", {})
    events = AuditEvent.objects.visible_to(request.user)
    named = [event.pk for event in events_of(found)]
    context = {
        "signature": found,
        "manifest": manifest,
        "meaning": meaning_in_words(found.meaning),
        "verified": digest_text(found.manifest_text) == found.pk,
        "bound": [
            (label, subject[key], reverse(page, args=(subject[key],)) if page else "")
            for key, (label, page) in DIGESTS.items()
            if is_digest(subject.get(key))
        ],
        "facts": [
            (label, subject[key])
            for key, label in FACTS.items()
            if subject.get(key) not in (None, "")
        ],
        "promotion": subject.get("id") if subject.get("type") == "promotion" else "",
        "text": reveal_json(manifest),
        "events": events.filter(pk__in=named).order_by("seq"),
    }
    return render(request, "dashboards/audit/signature.html", context)


@require_GET
@login_required
def signature_json(request: UserRequest, digest: str) -> HttpResponse:
    """The canonical text, byte for byte as it was signed."""
    found = get_object_or_404(Signature, pk=digest)
    if not may_read_signature(request.user, found):
        raise Http404
    response = HttpResponse(found.manifest_text, content_type="application/json")
    name = f"signature-{found.pk[7:19]}.json"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


urlpatterns: list[URLPattern] = [
    path("signatures/<digest:digest>/", signature, name="signature"),
    path("signatures/<digest:digest>/manifest.json", signature_json, name="signature-json"),
]
