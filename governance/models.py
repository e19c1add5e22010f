"""The index of every model: Django finds them here, people find them by their package."""

from governance.audit.models import AuditEvent
from governance.evals.models import Case, EvalRun, GatePolicy, GateReport, Score, SuiteVersion
from governance.jobs.models import Job, Schedule
from governance.kpis.models import Kpi, KpiNote
from governance.people.models import ApiToken, User
from governance.receipts.models import Receipt, RollUp, Span
from governance.releases.models import (
    Component,
    LiveRelease,
    Release,
    ReleaseApproval,
    ReleaseComponent,
)
from governance.reviews.models import ChecklistItem, Review
from governance.rollouts.models import (
    Approval,
    LiveChange,
    PostMortem,
    PostMortemAction,
    Promotion,
    Rollback,
)
from governance.triage.models import ExceptionCase, ExceptionReceipt
from governance.workflows.models import Workflow

__all__ = (
    "ApiToken",
    "Approval",
    "AuditEvent",
    "Case",
    "ChecklistItem",
    "Component",
    "EvalRun",
    "ExceptionCase",
    "ExceptionReceipt",
    "GatePolicy",
    "GateReport",
    "Job",
    "Kpi",
    "KpiNote",
    "LiveChange",
    "LiveRelease",
    "PostMortem",
    "PostMortemAction",
    "Promotion",
    "Receipt",
    "Release",
    "ReleaseApproval",
    "ReleaseComponent",
    "Review",
    "RollUp",
    "Rollback",
    "Schedule",
    "Score",
    "Span",
    "SuiteVersion",
    "User",
    "Workflow",
)
