"""manage.py seed_demo: the demo's people, releases, decisions and twelve weeks of run receipts."""

from __future__ import annotations

import os
import secrets
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance import audit
from governance.audit.models import AuditEvent
from governance.demo import history
from governance.demo.cast import ACCOUNTS, DEMO
from governance.demo.support import WORKFLOW
from governance.demo.support.library import (
    Library,
    LibraryError,
    choose,
    data_folder,
    import_messages,
    open_library,
)
from governance.people.models import ApiToken, User
from governance.people.services import create_token

TOKEN_FILE = "demo-token"  # noqa: S105 - a file's name


class Command(BaseCommand):
    help = "Make the demo, with the real functions, in an empty database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing when the database is in use"
        )
        parser.add_argument(
            "--messages", type=Path, help="a CSV file with the columns text and label"
        )
        parser.add_argument(
            "--password",
            default=os.environ.get("DEMO_PASSWORD", ""),
            help="of all demo accounts (default: DEMO_PASSWORD, or a random one)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if _is_in_use():
            if options["if_empty"]:
                self.stdout.write("The database is in use: the demo is not made.")
                return
            raise CommandError(
                "This database has people and events in it. The demo goes into an empty one only."
            )
        began = time.monotonic()
        password = options["password"] or secrets.token_urlsafe(12)
        runs = history.tell(self._library(options["messages"]), password, self._say)
        with audit.atomic():
            _, secret = create_token(
                "Support triage application",
                scopes=[ApiToken.Scope.RELEASES_READ, ApiToken.Scope.RECEIPTS_WRITE],
                actor=DEMO,
                workflow_slug=WORKFLOW,
            )
            audit.record("demo.seeded", actor=DEMO, workflow=WORKFLOW, receipts=runs.stored)
        self._say(f"{runs.stored:,} run receipts in {time.monotonic() - began:.0f} s")
        self.stdout.write(f"Demo accounts: {', '.join(ACCOUNTS)}")
        if not options["password"] or not os.environ.get("DEMO_PASSWORD"):
            self.stdout.write(f"Password of all of them, shown only now: {password}")
        _keep(secret)  # last: who finds this file finds a whole demo

    def _library(self, path: Path | None) -> Library:
        try:
            library = open_library() if path is None else import_messages(path)
        except LibraryError as error:
            raise CommandError(str(error)) from error
        choose(library)
        self._say(
            f"{len(library.messages):,} messages with {len(library.labels)} intents"
            f" from {library.name}"
        )
        return library

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _is_in_use() -> bool:
    """Whether anybody is known here already. Countersign's own events of the start do not count."""
    by_people = AuditEvent.objects.exclude(actor_type="system")
    return User.objects.exists() or by_people.exists()


def _keep(secret: str) -> None:
    """Write the application's token for its process, readable by nobody else."""
    path = data_folder() / TOKEN_FILE
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secret + "\n")
