"""Who answers for a workflow's lead KPI."""

from __future__ import annotations

from governance.people.models import User
from governance.workflows.models import Workflow


def kpi_owner(workflow: Workflow) -> User:
    """The owner of the lead KPI; where none is marked, the owner of the workflow.

    Asked several times for one page, so the answer stays with this instance. Whoever decides reads
    the workflow anew, under its lock, and so asks anew.
    """
    known: User | None = vars(workflow).get("_kpi_owner")
    if known is None:
        lead = workflow.kpis.filter(is_lead=True).select_related("owner").first()
        known = lead.owner if lead is not None else workflow.owner
        remember_kpi_owner(workflow, known)
    return known


def remember_kpi_owner(workflow: Workflow, owner: User) -> None:
    """Have `kpi_owner` answer for this instance without asking."""
    vars(workflow)["_kpi_owner"] = owner
