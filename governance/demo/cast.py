"""The people of the demo, the workflow they look after, and its KPIs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from governance.audit import Actor
from governance.demo.support import WORKFLOW
from governance.kpis.models import Kpi
from governance.kpis.services import create_kpi
from governance.people.models import User
from governance.people.services import create_user
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow

DEMO = Actor.system("demo")
ACCOUNTS: Mapping[str, tuple[str, str]] = {
    "cfo": (User.Role.EXECUTIVE, "CFO"),
    "coo": (User.Role.EXECUTIVE, "COO"),
    "head-of-ar": (User.Role.MEMBER, "Head of AR"),
    "controller": (User.Role.MEMBER, "Controller"),
    "head-of-support": (User.Role.MEMBER, "Head of Support"),
    "analyst": (User.Role.ANALYST, "Support analyst"),
    "builder": (User.Role.BUILDER, "AI engineer"),
    "auditor": (User.Role.AUDITOR, "Internal audit"),
    "admin": (User.Role.ADMIN, "Administrator"),
    "outsider": (User.Role.NONE, "Outsider"),
}


@dataclass(frozen=True)
class Cast:
    """Everybody by username, with the workflow they look after."""

    people: Mapping[str, User]
    workflow: Workflow

    def __getitem__(self, username: str) -> User:
        return self.people[username]


def create_cast(password: str) -> Cast:
    """Create the accounts, the workflow and its KPIs."""
    people = {
        username: create_user(username, actor=DEMO, role=role, job_title=title, password=password)
        for username, (role, title) in ACCOUNTS.items()
    }
    owner = people["head-of-support"]
    workflow = create_workflow(
        WORKFLOW,
        "Support triage",
        owner=owner,
        actor=people["admin"],
        description=(
            "Reads every mail to Kettlewick's help desk, names what it is about, answers the plain"
            " ones and hands the others to a person."
        ),
        authority=Workflow.Authority.EXECUTE,
        mode=Workflow.Mode.PULL,
        currency="USD",
        cost_note=(
            "Measured CPU seconds × USD 0.000034, plus USD 4.20 for each mail that a person"
            " answers. Both prices are stated, not measured; see docs/demo.md."
        ),
    )
    _create_kpis(workflow, owner)
    return Cast(people, workflow)


def _create_kpis(workflow: Workflow, owner: User) -> None:
    create_kpi(
        workflow, "escalation-rate", "Escalation rate", owner=owner, actor=owner,
        measure="escalated", unit=Kpi.Unit.SHARE, target=0.60, limit=0.72, is_lead=True,
        position=1,
    )  # fmt: skip
    create_kpi(
        workflow, "first-response", "Time to first response", owner=owner, actor=owner,
        measure="first_response_s", unit=Kpi.Unit.SECONDS, target=6 * 3600.0, limit=8 * 3600.0,
        position=0,
    )  # fmt: skip
    create_kpi(
        workflow, "quality", "Right decisions (labelled sample)", owner=owner, actor=owner,
        measure="correct", unit=Kpi.Unit.SHARE, lower_is_better=False, target=0.60, limit=0.50,
        is_business=False, position=2,
    )  # fmt: skip
    create_kpi(
        workflow, "cost-per-run", "Cost per run", owner=owner, actor=owner,
        measure="cost", unit=Kpi.Unit.MONEY, target=3.00, limit=3.40,
        is_business=False, position=3,
    )  # fmt: skip
    create_kpi(
        workflow, "latency", "Latency", owner=owner, actor=owner,
        measure="latency_ms", unit=Kpi.Unit.MILLISECONDS, target=25.0, limit=100.0,
        is_business=False, position=4,
    )  # fmt: skip
