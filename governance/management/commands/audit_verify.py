"""`manage.py audit_verify`: is the audit chain whole? Exit code 0 valid, 1 broken, 2 incomplete."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from governance.audit.verification import Verification, sensible_processes, verify

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
        code, lines = INCOMPLETE, []
        try:
            result = verify(processes=options["processes"] or sensible_processes())
        except Exception as error:
            # Python's own exit code for a crash is 1, which here would say: broken.
            sentence = f"The chain could not be read to its end: {str(error).strip()}"
            if options["json"]:
                lines = [json.dumps({"intact": None, "sentence": sentence})]
            else:
                self.stderr.write(sentence)
        else:
            code = _code(result)
            lines = _lines(result, time.monotonic() - started, as_json=options["json"])
        self._print(lines)
        sys.exit(code)

    def _print(self, lines: list[str]) -> None:
        try:
            for line in lines:
                self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:
            # Who reads has read enough (`| head -1`), and the exit code still says the verdict.
            # Python flushes once more at its end, which must not fail either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _code(result: Verification) -> int:
    if not result.events:
        return INCOMPLETE
    return VALID if result.intact else BROKEN


def _lines(result: Verification, seconds: float, *, as_json: bool) -> list[str]:
    if as_json:
        return [json.dumps({**result.as_json(), "seconds": round(seconds, 3), "limits": LIMITS})]
    lines = [result.sentence, *(f"  {fault.sentence}" for fault in result.faults)]
    if result.events:
        lines.append(f"Last hash: {result.head} ({seconds:.1f} s)")
    return [*lines, LIMITS]
