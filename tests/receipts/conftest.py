"""More workflows, owned by the same person."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from governance.people.models import User
from governance.receipts import partitions
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER


@pytest.fixture(autouse=True)
def _fresh_partition_memory() -> Iterator[None]:
    partitions.forget()
    yield
    partitions.forget()


@pytest.fixture
def make_workflow(owner: User) -> Callable[..., Workflow]:
    def make(slug: str) -> Workflow:
        return create_workflow(slug, slug.replace("-", " ").title(), owner=owner, actor=TESTER)

    return make
