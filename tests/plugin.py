"""Starts a private PostgreSQL and Valkey for the whole test run, before Django reads settings.

Loaded with `-p tests.plugin`, since pytest-django reads the settings before any conftest. With
`-n 3` every process of pytest-xdist has servers of its own, so that no test meets a neighbour's.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.distribution import Files

_stack = ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    for name in (
        "PORT",
        "DEBUG",
        "HTTPS",
        "ALLOWED_HOSTS",
        "EVAL_TARGETS",
        "EVAL_CASE_SOURCES",
        "EVAL_SCORERS",
        "PROXIES",
    ):
        os.environ.pop(name, None)
    os.environ.update(_servers())


def _servers() -> dict[str, str]:
    """Start servers that end with this process, and return the settings that lead to them."""
    from governance.embedded.servers import running

    folder = Path(tempfile.mkdtemp(prefix="countersign-tests-"))
    _stack.callback(shutil.rmtree, folder, ignore_errors=True)
    servers = _stack.enter_context(running(folder, durable=False))
    return {
        "DJANGO_SETTINGS_MODULE": "governance.settings",
        "DATA_DIR": str(folder),
        "DATABASE_URL": servers.owner_database_url,
        "REDIS_URL": servers.redis_url,
        "SECRET_KEY": "tests-only-" + "k" * 50,
    }


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: Sequence[Any]) -> None:
    """The first process takes this one's servers, which runs no test itself."""
    for spec in specs[1:]:
        spec.env.update(_servers())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files | None:
    if config.getoption("dist") != "loadfile":
        return None
    from tests.distribution import Files

    return Files(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        from tests.distribution import rank

        items.sort(key=lambda item: rank(item.nodeid))


def pytest_unconfigure() -> None:
    _stack.close()


# When Django itself cannot start, pytest never comes to unconfigure.
atexit.register(_stack.close)
