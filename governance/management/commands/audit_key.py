"""`manage.py audit_key`: print the public key of the checkpoints; make or rotate the key."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit import keys


class Command(BaseCommand):
    help = "Print the public key that the audit's checkpoints are signed with, to keep elsewhere."
    requires_system_checks = ()  # a key can be made before there is a database

    def add_arguments(self, parser: ArgumentParser) -> None:
        todo = parser.add_mutually_exclusive_group()
        todo.add_argument(
            "--create", action="store_true", help="make the key; refuses where there is one"
        )
        todo.add_argument(
            "--rotate",
            action="store_true",
            help="replace the key; the old public key is kept beside it",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path = keys.key_file()
        try:
            if options["create"] and not keys.create_key(path):
                raise CommandError(f"There is a key at {path} already. Nothing was changed.")
            if options["rotate"]:
                kept = keys.rotate_key(path)
                self.stderr.write(f"The old public key is kept in {kept}.")
            public = keys.signing_key().public_key()
        except (OSError, keys.KeyProblemError) as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"{path}: {keys.key_id(public)}")
        self.stdout.write(keys.public_pem(public).strip())
