"""Clients of a scripted server, closed at the end of each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from countersign import Client

from tests.clients.server import Scripted, scripted

SECRET = "cs_test"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """A client that asks before every case and keeps its cache in the test's folder."""
    made: list[Client] = []

    def make(url: str, token: str = SECRET, **options: Any) -> Client:
        given = {
            "cache_dir": tmp_path / "cache", "ask": "each", "refresh_seconds": 60.0,
            "prefetch": False, "timeout": 1.0, **options,
        }  # fmt: skip
        made.append(Client(url, token, "support-triage", **given))
        return made[-1]

    yield make
    for client in made:
        client.close(0.1)
