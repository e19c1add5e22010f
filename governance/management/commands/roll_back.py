"""`manage.py roll_back WORKFLOW --reason R`: back to the last known good, from a shell."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit import Actor
from governance.common.errors import GovernanceError
from governance.common.time import now, true_now
from governance.rollouts.models import Rollback
from governance.rollouts.recovery_models import Convergence
from governance.rollouts.services import roll_back
from governance.workflows.models import Workflow

JUST_NOW = timedelta(minutes=1)  # two people who see the same trouble go back once


class Command(BaseCommand):
    help = "Go back to the last known good release. Recorded as operator:<your login>."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workflow", help="the workflow's slug")
        parser.add_argument("--reason", required=True, help="why; it stays in the record")
        parser.add_argument(
            "--again", action="store_true",
            help=f"also within {JUST_NOW.seconds} s of another rollback, one release further back",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        clicked_at = true_now()
        workflow = Workflow.objects.filter(slug=options["workflow"]).first()
        if workflow is None:
            raise CommandError(f"There is no workflow {options['workflow']!r}.")
        just = Rollback.objects.filter(workflow=workflow, done_at__gt=now() - JUST_NOW).last()
        if just is not None and not options["again"]:
            raise CommandError(
                f"{just.actor_label} went back to {just.to_release} a moment ago. To go further"
                " back still, add --again."
            )
        try:
            done = roll_back(
                workflow, actor=Actor.operator(getpass.getuser()), reason=options["reason"],
                clicked_at=clicked_at,
            )  # fmt: skip
        except GovernanceError as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(
            f"{done.to_release} is live again, instead of {done.from_release.name}."
            " A post-mortem is open."
        )
        served = Convergence.objects.filter(rollback=done).first()
        if served is not None:
            seconds = (served.served_at - served.clicked_at).total_seconds()
            self.stdout.write(
                f"Served {seconds:.1f} s after the command. Run receipts prove the rest:"
                f" /rollbacks/{done.pk}/"
            )
