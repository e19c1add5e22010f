"""`manage.py role_sql`: the SQL that makes the logins in your own cluster, or a check of them."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit.roles import findings, statements

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")


class Command(BaseCommand):
    help = (
        "Print the SQL for psql, as superuser of your own cluster, that makes the logins cs_owner"
        " and cs_app and the database; or check that they hold in the database in use."
    )
    requires_system_checks = ()  # it is needed before there is a database

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--database", default="countersign", help="the name of the database")
        parser.add_argument(
            "--check",
            action="store_true",
            help="look at the database in use; exit code 1 where the logins may do too much",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["check"]:
            self._check()
            return
        name = options["database"]
        if not NAME.match(name):
            raise CommandError("--database: small letters, digits and underscores only.")
        cluster, inside = statements(name)
        self.stdout.write("-- As superuser: manage.py role_sql | psql -v ON_ERROR_STOP=1 postgres")
        for statement in cluster:
            self.stdout.write(f"{statement};")
        self.stdout.write(f"\\connect {name}")
        for statement in inside:
            self.stdout.write(f"{statement};")
        self.stdout.write("-- Then give both logins a password: \\password cs_owner, cs_app")

    def _check(self) -> None:
        found = findings()
        for sentence in found:
            self.stdout.write(sentence)
        if found:
            sys.exit(1)
        self.stdout.write("The logins hold: cs_app can rewrite nothing that was recorded.")
