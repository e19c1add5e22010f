"""What a run receipt says about its release, in a table's cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboards.hostile import reveal
from dashboards.templatetags.countersign import chip, short_digest
from governance.receipts.models import Receipt
from governance.releases.models import Release

register = template.Library()
PLAIN_RUN_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]+\Z")


@register.simple_tag
def release_of(row: Receipt, names: Mapping[str, Release]) -> SafeString | str:
    """The release by its name where it is registered, by its claim where it is not."""
    release = names.get(row.release_digest)
    if release is not None and release.workflow_id == row.workflow_id:
        return format_html(
            '<a href="{}">{}</a>', reverse("release", args=[release.pk]), release.name
        )
    if row.release_digest:
        return format_html(
            '<code class="digest">{}</code>', reveal(short_digest(row.release_digest))
        )
    return ""


@register.simple_tag
def standing(row: Receipt) -> SafeString | str:
    """A chip where something is wrong; the normal case stays quiet."""
    if row.standing == Receipt.Standing.AUTHORISED:
        return ""
    return chip(row.standing, "state", row.get_standing_display())


@register.simple_tag
def receipt_url(row: Receipt) -> str:
    """The address of one receipt: by its path, or by `?run=` where a path would be changed.

    Browsers resolve "." and "..", and proxies decode a slash, so only plain names stand in a path.
    """
    on = row.day.isoformat()
    if PLAIN_RUN_ID.match(row.run_id):
        return reverse("receipt", args=[on, row.run_id])
    return f"{reverse('receipt', args=[on, '-'])}?{urlencode({'run': row.run_id})}"
