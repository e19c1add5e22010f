"""`manage.py up`: what `make up` runs once everything is installed."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from governance.embedded.processes import StartError
from governance.embedded.supervisor import Plan, Supervisor


class Command(BaseCommand):
    help = "Start the servers, the web process, worker, beat and demo; Ctrl-C stops them all."
    # There is no database to check yet: `migrate` checks everything a moment later.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            plan = Plan.from_environment(settings.BASE_DIR, settings.DATA_DIR, os.environ)
        except StartError as error:
            self.stderr.write(f"Countersign: {error}")
            sys.exit(2)
        sys.exit(Supervisor(plan).run())
