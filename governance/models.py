"""The index of every model: Django finds them here, people find them by their package."""

from governance.audit.checkpoint_models import Checkpoint, CheckpointDelivery
from governance.audit.models import AuditEvent
from governance.evals.decision_models import BakeOff, GateWaiver, SuiteEdit
from governance.evals.models import Case, EvalRun, GatePolicy, GateReport, Score, SuiteVersion
from governance.evals.setup_models import EvalTarget, Evaluator, HumanLabel, JudgeCalibration
from governance.jobs.models import Job, Schedule
from governance.kpis.models import Kpi, KpiNote
from governance.people.models import Absence, ApiToken, Delegation, Signature, User
from governance.receipts.models import Receipt, RollUp, Span
from governance.receipts.observation_models import SlotObservation
from governance.receipts.seal_models import ReceiptPending, ReceiptSeal
from governance.releases.models import (
    Component,
    KnownGood,
    LiveRelease,
    Pin,
    Release,
    ReleaseApproval,
    ReleaseComponent,
)
from governance.reviews.models import ChecklistItem, Review
from governance.rollouts.models import (
    Approval,
    LiveChange,
    PostMortem,
    Promotion,
    Rollback,
)
from governance.rollouts.pilot_models import GuardDecision, Pilot
from governance.rollouts.proposal_models import ProposalKey
from governance.rollouts.push_models import PushDelivery
from governance.rollouts.recovery_models import (
    Convergence,
    Drill,
    PostMortemAction,
    Preflight,
    RecallRow,
)
from governance.rollouts.road_models import (
    FreezeException,
    FreezeWindow,
    PromotionOutcome,
    StandingApproval,
)
from governance.triage.models import ExceptionCase, ExceptionReceipt
from governance.workflows.models import Workflow

__all__ = (
    "Absence",
    "ApiToken",
    "Approval",
    "AuditEvent",
    "BakeOff",
    "Case",
    "ChecklistItem",
    "Checkpoint",
    "CheckpointDelivery",
    "Component",
    "Convergence",
    "Delegation",
    "Drill",
    "EvalRun",
    "EvalTarget",
    "Evaluator",
    "ExceptionCase",
    "ExceptionReceipt",
    "FreezeException",
    "FreezeWindow",
    "GatePolicy",
    "GateReport",
    "GateWaiver",
    "GuardDecision",
    "HumanLabel",
    "Job",
    "JudgeCalibration",
    "KnownGood",
    "Kpi",
    "KpiNote",
    "LiveChange",
    "LiveRelease",
    "Pilot",
    "Pin",
    "PostMortem",
    "PostMortemAction",
    "Preflight",
    "Promotion",
    "PromotionOutcome",
    "ProposalKey",
    "PushDelivery",
    "RecallRow",
    "Receipt",
    "ReceiptPending",
    "ReceiptSeal",
    "Release",
    "ReleaseApproval",
    "ReleaseComponent",
    "Review",
    "RollUp",
    "Rollback",
    "Schedule",
    "Score",
    "Signature",
    "SlotObservation",
    "Span",
    "StandingApproval",
    "SuiteEdit",
    "SuiteVersion",
    "User",
    "Workflow",
)
