"""Beginning a process beside this one. Importable before Django is set up, as a new process is."""

from __future__ import annotations

import django
from django.apps import apps
from django.db import connection


def begin_process() -> None:
    """Make a process of a pool ready: with Django, and with a connection of its own."""
    if not apps.ready:
        django.setup()
    # A copied one is the parent's: it is forgotten here, and not closed.
    connection.connection = None
