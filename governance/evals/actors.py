"""Who acts on evals, and the lock that makes suites, policies and reports one after the other."""

from __future__ import annotations

from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.people.models import User
from governance.workflows.models import Workflow
from governance.workflows.ownership import kpi_owner

EDITORS = (User.Role.ANALYST, User.Role.BUILDER)


def edits(user: User, workflow: Workflow) -> bool:
    """Analysts, builders, the owner of the workflow, and its KPI owner."""
    return user.role in EDITORS or workflow.owner_id == user.pk or is_kpi_owner(user, workflow)


def is_kpi_owner(user: User, workflow: Workflow) -> bool:
    """Whether this person answers for the lead KPI."""
    return kpi_owner(workflow).pk == user.pk


def confirms(user: User, author_id: int | None) -> bool:
    """The second person: somebody else than the author, and nobody who builds what is judged."""
    if author_id == user.pk or user.role == User.Role.BUILDER:
        return False
    return user.role in (User.Role.EXECUTIVE, User.Role.ANALYST) or user.owned_workflows.exists()


def label(actor: Actor | HasActor) -> str:
    return (actor if isinstance(actor, Actor) else actor.as_actor()).label


def lock(workflow: Workflow) -> None:
    """One writer of suites, policies and reports at a time; receipts do not wait for it."""
    Workflow.objects.select_for_update(no_key=True).get(pk=workflow.pk)
