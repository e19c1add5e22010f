"""`manage.py register_release WORKFLOW FILE`: register a release from a JSON file of slots."""

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit import Actor
from governance.common.errors import GovernanceError
from governance.releases.models import Slot
from governance.releases.services import read_manifest, register_release
from governance.workflows.models import Workflow


class Command(BaseCommand):
    help = (
        "Register a release from JSON: one object per slot, or a title and the slots, as the page"
        " of a release gives it. '-' reads standard input."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workflow", help="the workflow's slug")
        parser.add_argument("file", help=f"JSON with the slots {', '.join(Slot.values)}")
        parser.add_argument("--title", default="", help="what people call it")

    def handle(self, *args: Any, **options: Any) -> None:
        workflow = Workflow.objects.filter(slug=options["workflow"]).first()
        if workflow is None:
            raise CommandError(f"There is no workflow {options['workflow']!r}.")
        try:
            slots, title = read_manifest(_read(options["file"]))
            release, created = register_release(
                workflow,
                slots,
                title=options["title"] or title,
                actor=Actor.operator(getpass.getuser()),
            )
        except GovernanceError as refusal:
            raise CommandError(str(refusal)) from refusal
        word = "registered" if created else "was registered already"
        self.stdout.write(f"{release} {word}: {release.digest}")


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.") from error
