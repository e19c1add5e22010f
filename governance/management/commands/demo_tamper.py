"""`manage.py demo_tamper`: change what the demo application runs, behind Countersign's back."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.common.canonical import parse_json
from governance.common.errors import GovernanceError
from governance.demo.support.library import CHOICE, data_folder
from governance.demo.support.tampering import FILE
from governance.releases.diff import SLOT_NAMES


class Command(BaseCommand):
    help = (
        "Change settings of the running demo application without a release, as somebody with"
        " access to its server could. Countersign is told nothing; it must find out by itself."
    )
    requires_system_checks = ()  # it writes one file beside the demo's data, and asks no database

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--threshold", type=float, help="the confidence below which a person decides, 0 to 1"
        )
        parser.add_argument(
            "--set", action="append", default=[], metavar="SLOT.NAME=JSON",
            help="another setting, such as routing.fallback_queue='\"elsewhere\"'; may be repeated",
        )  # fmt: skip
        parser.add_argument("--undo", action="store_true", help="run the release as declared again")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = data_folder()
        path = folder / FILE
        if options["undo"]:
            path.unlink(missing_ok=True)
            self.stdout.write("The demo application runs the release as declared again.")
            return
        if not (folder / CHOICE).is_file():
            raise CommandError("There is no demo in this data folder.")
        changes = _changes(options["threshold"], options["set"])
        if not changes:
            raise CommandError("Say what to change: --threshold 0.2, or --set SLOT.NAME=JSON.")
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(changes, indent=2) + "\n", encoding="utf-8")
        os.replace(fresh, path)  # the application never reads half a file
        said = [f"{slot}.{name}" for slot, settings in changes.items() for name in settings]
        self.stdout.write(
            f"Changed in the demo application, and in no release: {', '.join(said)}. Its next run"
            " receipt shows it: look at Exceptions. `manage.py demo_tamper --undo` takes it back."
        )


def _changes(threshold: float | None, settings: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise CommandError("The threshold is a number from 0 to 1.")
        found["guardrails"] = {"confidence_threshold": threshold}
    for setting in settings:
        path, _, text = setting.partition("=")
        slot, _, name = path.partition(".")
        if slot not in SLOT_NAMES or not name or not text:
            raise CommandError(
                f"{setting!r} must be SLOT.NAME=JSON. The slots are: {', '.join(SLOT_NAMES)}."
            )
        try:
            found.setdefault(slot, {})[name] = parse_json(text)
        except GovernanceError as refusal:
            raise CommandError(f"{path}: {refusal}") from refusal
    return found
