"""Starts a private PostgreSQL and Valkey for the whole test run, before Django reads settings.

Loaded with `-p tests.plugin`, since pytest-django reads the settings before any conftest.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

_stack = ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    from governance.embedded.servers import running

    for name in (
        "PORT",
        "DEBUG",
        "HTTPS",
        "ALLOWED_HOSTS",
        "EVAL_TARGETS",
        "EVAL_CASE_SOURCES",
        "PROXIES",
    ):
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="countersign-tests-"))
    _stack.callback(shutil.rmtree, folder, ignore_errors=True)
    servers = _stack.enter_context(running(folder, durable=False))
    os.environ.update(
        DJANGO_SETTINGS_MODULE="governance.settings",
        DATA_DIR=str(folder),
        DATABASE_URL=servers.owner_database_url,
        REDIS_URL=servers.redis_url,
        SECRET_KEY="tests-only-" + "k" * 50,
    )


def pytest_unconfigure() -> None:
    _stack.close()


# When Django itself cannot start, pytest never comes to unconfigure.
atexit.register(_stack.close)
