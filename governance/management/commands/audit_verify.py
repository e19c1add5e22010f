"""`manage.py audit_verify`: is the audit whole? Exit code 0 valid, 1 broken, 2 incomplete."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from governance.audit.checkpoint_verification import CheckpointResult, Comparison
from governance.audit.verification import Verification, sensible_processes, verify
from governance.receipts.seal_verification import SealResult, verify_seals

VALID, BROKEN, INCOMPLETE = 0, 1, 2


class Command(BaseCommand):
    help = (
        "Verify every audit event (hashes, links, gapless numbers, columns against bodies) and"
        " every signed checkpoint, in the database and outside of it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument("--processes", type=int, choices=range(1, 65), metavar="N")
        parser.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="a checkpoint that was kept elsewhere; may be given several times",
        )
        parser.add_argument(
            "--public-key",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="a key kept elsewhere, whose signatures count; default: this installation's own",
        )

        parser.add_argument(
            "--receipts",
            action="store_true",
            help="compare every stored run receipt with its seal, too",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        code, lines = INCOMPLETE, []
        try:
            comparison = Comparison.gather(options["checkpoint"], options["public_key"])
            chain = verify(
                processes=options["processes"] or sensible_processes(), sizes=comparison.sizes
            )
            compared = comparison.compare(chain)
            sealed = verify_seals() if options["receipts"] else None
        except Exception as error:
            # Python's own exit code for a crash is 1, which here would say: broken.
            sentence = f"The audit could not be read to its end: {str(error).strip()}"
            if options["json"]:
                lines = [json.dumps({"intact": None, "sentence": sentence})]
            else:
                self.stderr.write(sentence)
        else:
            code = _code(chain, compared, sealed)
            seconds = time.monotonic() - started
            lines = _lines(chain, compared, sealed, seconds, as_json=options["json"])
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


def _code(chain: Verification, compared: CheckpointResult, sealed: SealResult | None) -> int:
    if chain.fault_count or compared.fault_count or (sealed and sealed.fault_count):
        return BROKEN
    return VALID if chain.events else INCOMPLETE


def _limits(chain: Verification, compared: CheckpointResult) -> str:
    """What this verification cannot see."""
    if not compared.compared:
        return (
            "A chain alone cannot show that its newest events were cut off, or that all of it was"
            " written anew: make checkpoints, and keep them elsewhere."
        )
    newer = chain.last - compared.covered
    said = (
        "Every event is under a signed root."
        if newer <= 0
        else f"The newest {newer:,} events are under no signed root yet, so that they were cut off"
        " or rewritten could not be seen."
    )
    if not compared.outside:
        said += (
            " No checkpoint was found outside of the database: who can write there and has the"
            " key could have signed anew."
        )
    if not compared.keys_compared:
        said += " The keys were compared with none: pass --public-key."
    return said


def _lines(
    chain: Verification,
    compared: CheckpointResult,
    sealed: SealResult | None,
    seconds: float,
    *,
    as_json: bool,
) -> list[str]:
    limits = _limits(chain, compared)
    if as_json:
        return [
            json.dumps(
                {
                    **chain.as_json(),
                    "intact": _code(chain, compared, sealed) == VALID,
                    "checkpoints": compared.as_json(),
                    "receipts": sealed.as_json() if sealed else None,
                    "seconds": round(seconds, 3),
                    "limits": limits,
                }
            )
        ]
    lines = [chain.sentence, *(f"  {fault.sentence}" for fault in chain.faults)]
    lines += [compared.sentence, *(f"  {fault.sentence}" for fault in compared.faults)]
    lines += [f"  Note: {note}" for note in compared.notes]
    if sealed:
        lines += [sealed.sentence, *(f"  {fault.sentence}" for fault in sealed.faults)]
    if chain.events:
        lines.append(f"Last hash: {chain.head} ({seconds:.1f} s)")
    return [*lines, limits]
