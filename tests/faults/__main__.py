"""`make faults`: every attack in full, and docs/reliability.md written from what was measured."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from tests.faults import report


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="as in `make test`")
    parser.add_argument("--full", default="", help="these in full, the others as with --short")
    parser.add_argument("--only", default="", help="some of them, such as I3,I4; prints only")
    parser.add_argument("--keep", type=Path, help="add the figures to this file of an earlier run")
    parser.add_argument("--page", action="store_true", help="write the page from what --keep holds")
    asked = parser.parse_args()
    wanted, in_full = _names(asked.only), _names(asked.full)
    known = {one.key for one in report.PROMISES}
    if (wanted | in_full) - known:
        parser.error(f"the invariants are {', '.join(sorted(known))}")
    with tempfile.TemporaryDirectory() as folder:
        results = (asked.keep or Path(folder) / "figures.jsonl").absolute()
        if in_full:
            failed = attack(in_full, results, short=False)
            failed += attack((wanted or known) - in_full, results, short=True)
        else:
            failed = attack(wanted or known, results, short=asked.short)
        figures = report.read(results)
    for one in report.PROMISES:
        if one.key in wanted or not wanted:
            print(f"{one.key:4} {report.figure_of(one, figures)}")
    whole = asked.page or not wanted
    missing = report.unmeasured(figures) if whole else []
    if missing:
        print(f"Not measured: {', '.join(missing)}", file=sys.stderr)
    if whole:
        today = datetime.now(UTC).date()
        run = "make faults"
        if asked.page:
            run += " ARGS='--only … --keep FILE --page'"
        elif asked.short or in_full:
            run += f" ARGS='--full {asked.full}'" if in_full else " ARGS=--short"
        text = report.page(figures, today, run=run, failed=sorted(set(failed)))
        report.PAGE.write_text(text)
        print(f"Written: {report.PAGE.name}")
    return 1 if failed or missing else 0


def _names(text: str) -> set[str]:
    return {name.strip().upper() for name in text.split(",") if name.strip()}


def attack(keys: set[str], results: Path, *, short: bool) -> list[str]:
    """Run the tests of these invariants on one database; returns the invariants that failed."""
    files: dict[str, list[str]] = {}
    for one in report.PROMISES:
        for test in one.tests if one.key in keys else ():
            files.setdefault(test, []).append(one.key)
    environment = {**os.environ, report.RESULTS: str(results), "FAULTS_FULL": "" if short else "1"}
    outcome = results.with_suffix(".xml")
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", f"--junitxml={outcome}", *files],
        env=environment, check=False,
    ).returncode  # fmt: skip
    failed = broken_modules(outcome) if outcome.exists() else set()
    named = [key for file, of in files.items() if module_of(file) in failed for key in of]
    # Ended without saying where: then nothing of it counts.
    return named if named or code == 0 else sorted({key for of in files.values() for key in of})


def module_of(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def broken_modules(outcome: Path) -> set[str]:
    """The modules with a failed test, from pytest's own report."""
    found = set()
    for case in ElementTree.parse(outcome).iter("testcase"):  # noqa: S314 - pytest wrote it
        if case.find("failure") is not None or case.find("error") is not None:
            found.add(case.get("classname") or case.get("name") or "")
    return found


if __name__ == "__main__":
    sys.exit(main())
