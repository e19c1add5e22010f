"""The one Django app. `ready()` loads what registers itself: rules, job kinds, checks."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

# Each registers its rules for `can()` (services) or its job kinds (tasks) when imported.
REGISTERING = (
    "governance.celery",
    "governance.checks",
    "governance.jobs.checkpoints",
    "governance.people.services",
    "governance.workflows.services",
    "governance.releases.services",
    "governance.receipts.services",
    "governance.receipts.tasks",
    "governance.kpis.services",
    "governance.evals.services",
    "governance.evals.tasks",
    "governance.triage.services",
    "governance.triage.tasks",
    "governance.rollouts.services",
    "governance.rollouts.tasks",
    "governance.reviews.services",
)


class GovernanceConfig(AppConfig):
    name = "governance"
    verbose_name = "Countersign"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        for module in REGISTERING:
            import_module(module)
