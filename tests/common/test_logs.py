"""What a refused request leaves in the log."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from governance.people.models import User


def test_a_refusal_is_one_line_without_a_traceback(
    analyst: User, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client()
    client.force_login(analyst)
    with caplog.at_level("WARNING", logger="django.request"):
        assert client.get(reverse("people")).status_code == 403
    (said,) = (record for record in caplog.records if record.name == "django.request")
    assert "Forbidden" in said.getMessage()
    assert said.exc_info is None
