"""People in front of pages: sessions whose password was typed just now.

Fixtures: a test module that wants them imports them by name.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from governance.common.time import true_now
from governance.people.models import User
from tests.rollouts.conftest import approve, propose

__all__ = ("approve", "confirmed", "propose")


@pytest.fixture
def confirmed(login: Callable[[User], Client]) -> Callable[[User], Client]:
    """A browser session whose password was typed just now."""

    def enter(user: User) -> Client:
        client = login(user)
        session = client.session
        session["reauthenticated_at"] = true_now().isoformat()
        session.save()
        return client

    return enter
