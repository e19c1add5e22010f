"""`manage.py create_user NAME --role R`: make an account, the first administrator among them."""

from __future__ import annotations

import getpass
import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit import Actor
from governance.common.errors import GovernanceError
from governance.people.models import User
from governance.people.services import create_user


class Command(BaseCommand):
    help = "Make an account. Its first password is printed once; it is changed after logging in."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument(
            "--role", required=True, choices=[role for role in User.Role.values if role]
        )
        parser.add_argument("--title", default="", help="what the person is called on pages")
        parser.add_argument("--email", default="", help="known by it to the identity provider")

    def handle(self, *args: Any, **options: Any) -> None:
        password = secrets.token_urlsafe(12)
        try:
            create_user(
                options["username"],
                actor=Actor.operator(getpass.getuser()),
                role=options["role"],
                job_title=options["title"],
                email=options["email"],
                password=password,
            )
        except GovernanceError as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(password)
