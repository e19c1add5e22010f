"""`manage.py create_token NAME --scope S [--workflow W]`: print a new token, this one time."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit import Actor
from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.people.models import ApiToken
from governance.people.services import create_token
from governance.workflows.models import Workflow


class Command(BaseCommand):
    help = "Create a token for a machine. It is printed once; only its hash is kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="who uses it, for example support-router")
        parser.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=ApiToken.Scope.values,
            help="what it may do; give it once per scope",
        )
        parser.add_argument("--workflow", default="", help="the only workflow it is for")
        parser.add_argument("--days", type=int, help="after how many days it expires")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["workflow"]
        if slug and not Workflow.objects.filter(slug=slug).exists():
            raise CommandError(f"There is no workflow {slug!r}.")
        days = options["days"]
        if days is not None and not 1 <= days <= 3650:
            raise CommandError("--days is a number from 1 to 3650.")
        try:
            _, secret = create_token(
                options["name"].strip(),
                scopes=options["scope"],
                actor=Actor.operator(getpass.getuser()),
                workflow_slug=slug,
                expires_at=now() + timedelta(days=days) if days else None,
            )
        except GovernanceError as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(secret)
