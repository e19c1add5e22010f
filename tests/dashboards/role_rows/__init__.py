"""Who gets through to which page, one module per area; `tests.dashboards.test_roles` tries it all.

A module holds `ROWS` (URL name -> Row) and, where its URLs need arguments or a state that the
common world lacks, `extend(world, cast)`, which adds its keys to the world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow

EXECUTIVE, OWNER, OTHER_OWNER = "executive", "KPI owner", "KPI owner of another workflow"
ANALYST, BUILDER, AUDITOR, ADMIN = "analyst", "builder", "auditor", "admin"
OUTSIDER, NOBODY = "account without a role", "not logged in"
ROLES = (
    EXECUTIVE, OWNER, OTHER_OWNER, ANALYST, BUILDER, AUDITOR, ADMIN, OUTSIDER, NOBODY,
)  # fmt: skip

READERS = {EXECUTIVE, OWNER, ANALYST, BUILDER, AUDITOR, ADMIN}  # of this workflow
LOGGED_IN = READERS | {OTHER_OWNER, OUTSIDER}  # lists: each shows what the person may see
EVERYBODY = LOGGED_IN | {NOBODY}
NONE: set[str] = set()
GOES_BACK = {EXECUTIVE, OWNER, ANALYST, BUILDER}
DECIDES = {EXECUTIVE, OWNER}
TRIAGES = {OWNER, ANALYST}


World = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Row:
    """Who gets through to one URL; `key` names its arguments in the world below."""

    get: set[str]
    post: set[str] = field(default_factory=set)
    key: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cast:
    """What the common world was made of; `make_release` registers another one."""

    workflow: Workflow
    live: Release
    promotion: Promotion
    make_release: Callable[..., Release]
    owner: User
    cfo: User
    builder: User
