"""`manage.py audit_verify`: is the audit chain whole? Exit code 0 valid, 1 broken, 2 incomplete."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from governance.audit.verification import sensible_processes, verify

VALID, BROKEN, INCOMPLETE = 0, 1, 2
LIMITS = (
    "A chain alone cannot show that its newest events were cut off, or that all of it was written"
    " anew: compare the last hash with one that you kept elsewhere."
)


class Command(BaseCommand):
    help = "Verify every audit event: hashes, links, gapless numbers, columns against bodies."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument("--processes", type=int, choices=range(1, 65), metavar="N")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        try:
            result = verify(processes=options["processes"] or sensible_processes())
        except Exception as error:
            # Python's own exit code for a crash is 1, which here would say: broken.
            sentence = f"The chain could not be read to its end: {str(error).strip()}"
            if options["json"]:
                self.stdout.write(json.dumps({"intact": None, "sentence": sentence}))
            else:
                self.stderr.write(sentence)
            sys.exit(INCOMPLETE)
        seconds = time.monotonic() - started
        if options["json"]:
            self.stdout.write(
                json.dumps({**result.as_json(), "seconds": round(seconds, 3), "limits": LIMITS})
            )
        else:
            self.stdout.write(result.sentence)
            for fault in result.faults:
                self.stdout.write(f"  {fault.sentence}")
            if result.events:
                self.stdout.write(f"Last hash: {result.head} ({seconds:.1f} s)")
            self.stdout.write(LIMITS)
        if not result.events:
            sys.exit(INCOMPLETE)
        sys.exit(VALID if result.intact else BROKEN)
