"""`manage.py export_lkg WORKFLOW`: a file from which an application starts without Countersign."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.api.bundles import bundle_of
from governance.common.errors import GovernanceError
from governance.workflows.models import Workflow


class Command(BaseCommand):
    help = "Write what is live and the last known good, with their verified content, as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workflow", help="the workflow's slug")
        parser.add_argument("--out", default="-", help="a file; '-' is standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        workflow = Workflow.objects.filter(slug=options["workflow"]).first()
        if workflow is None:
            raise CommandError(f"There is no workflow {options['workflow']!r}.")
        try:
            text = json.dumps(bundle_of(workflow), ensure_ascii=False)
        except GovernanceError as refusal:
            raise CommandError(str(refusal)) from refusal
        if options["out"] == "-":
            self.stdout.write(text)
            return
        try:
            Path(options["out"]).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['out']} cannot be written: {error.strerror}.") from error
        self.stdout.write(f"Written: {options['out']}")
