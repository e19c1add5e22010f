"""`manage.py evidence_pack PROMOTION | --period P`: everything behind it, in one checkable ZIP."""

from __future__ import annotations

import getpass
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit import Actor
from governance.reviews.cadence import KINDS, Period, parse_period
from governance.rollouts.evidence import Packed, pack_period, pack_promotion
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow


class Command(BaseCommand):
    help = (
        "Write an evidence pack: a ZIP with an offline verify.py. The audit chain keeps its hash."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("promotion", nargs="?", type=int, help="the number of a promotion")
        parser.add_argument("--period", metavar="P", help="2026-Q4, 2026-11 or 2026-W47")
        parser.add_argument("--workflow", metavar="W", help="with --period: this workflow only")
        parser.add_argument("--out", metavar="FILE", help="where to write it; never overwritten")

    def handle(self, *args: Any, **options: Any) -> None:
        if (options["promotion"] is None) == (options["period"] is None):
            raise CommandError("Name one promotion, or one --period.")
        if options["workflow"] and options["period"] is None:
            raise CommandError("--workflow goes with --period.")
        pack = (
            self._promotion(options["promotion"])
            if options["period"] is None
            else self._period(options["period"], options["workflow"])
        )
        packed, path = _written(pack, options["out"])
        self.stdout.write(
            f"{path}\n{packed.sha256}\n{packed.files:,} files, {packed.events:,} audit events,"
            f" {packed.size:,} bytes."
        )
        if packed.checkpoint is None:
            self.stderr.write(
                "No checkpoint covers its events, so verify.py will say: incomplete. Make a key"
                " with audit_key and a checkpoint with audit_checkpoint, then pack again."
            )

    def _promotion(self, number: int) -> Callable[[IO[bytes]], Packed]:
        promotion = Promotion.objects.for_page().filter(pk=number).first()
        if promotion is None:
            raise CommandError(f"There is no promotion {number}.")
        return lambda out: pack_promotion(promotion, out, actor=_operator())

    def _period(self, key: str, slug: str | None) -> Callable[[IO[bytes]], Packed]:
        period = _parsed(key)
        chosen = Workflow.objects.filter(slug=slug) if slug else Workflow.objects.all()
        if slug and not chosen.exists():
            raise CommandError(f"There is no workflow {slug!r}.")
        return lambda out: pack_period(
            chosen,
            datetime.combine(period.starts_on, time(), UTC),
            datetime.combine(period.after, time(), UTC),
            out,
            actor=_operator(),
            whole=not slug,
        )


def _operator() -> Actor:
    return Actor.operator(getpass.getuser())


def _parsed(key: str) -> Period:
    for kind in KINDS:
        try:
            return parse_period(kind, key)
        except ValueError:
            continue
    raise CommandError(f"{key!r} is no period: write 2026-Q4, 2026-11 or 2026-W47.")


def _written(pack: Callable[[IO[bytes]], Packed], wanted: str | None) -> tuple[Packed, Path]:
    """Write beside the place where it will be; it gets its name when it is whole."""
    folder = Path(wanted).parent if wanted else Path()
    try:
        with tempfile.NamedTemporaryFile("w+b", dir=folder, suffix=".half") as half:
            packed = pack(half)
            path = Path(wanted) if wanted else folder / packed.name
            half.flush()
            os.fsync(half.fileno())
            os.link(half.name, path)  # unlike a rename, it refuses to replace
    except FileExistsError:
        raise CommandError(f"{path} is there already; give another --out.") from None
    except OSError as error:
        raise CommandError(f"The pack could not be written: {error}") from error
    path.chmod(0o644)
    return packed, path
