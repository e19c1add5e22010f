"""How hard to attack, and where the figures go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from bench._product import NOBODY, Product, product
from tests.faults import invariants
from tests.faults.report import RESULTS
from tests.faults.serving import without


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this is `make faults` and not `make test`."""
    return bool(os.environ.get("FAULTS_FULL"))


@pytest.fixture
def figure() -> Callable[..., None]:
    """Keep what an attack measured: `figure("I3", trials=200, promotions=200)`."""

    def keep(invariant: str, **values: object) -> None:
        print(f"{invariant}: " + ", ".join(f"{name} {value}" for name, value in values.items()))
        path = os.environ.get(RESULTS)
        if path:
            with Path(path).open("a") as file:
                in_full = bool(os.environ.get("FAULTS_FULL"))
                file.write(json.dumps({"invariant": invariant, "full": in_full, **values}) + "\n")

    return keep


@pytest.fixture(autouse=True)
def _fresh_chain(settings: LazySettings) -> None:
    invariants.forget_chain()


@pytest.fixture(scope="session")
def alone() -> Iterator[Product]:
    """A product on servers of its own, with Redis, mail, workers and eval targets down."""
    with product(durable=False, **without(NOBODY)) as made:
        yield made
