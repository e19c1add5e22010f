"""The command `countersign`; its `gate` is the step of a pipeline that judges a change."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from countersign.errors import CountersignError
from countersign.gate import Gate, GateClient, key_of
from countersign.junit import junit

PASS, FAIL, NOT_ENOUGH_EVIDENCE, TROUBLE = 0, 1, 2, 3
SUITES = ("golden", "recent", "adversarial")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    asked = _parser().parse_args(words)
    token = os.environ.get(asked.token_env, "")
    if not token:
        return _trouble(f"The variable {asked.token_env} holds no token.")
    try:
        client = GateClient(asked.url, token)
    except ValueError as error:
        return _trouble(str(error))
    try:
        gate = _gate(client, asked)
    except CountersignError as error:
        return _trouble(str(error))
    except (OSError, ValueError, RecursionError) as error:
        return _trouble(f"{asked.release}: {error}")
    finally:
        client.close()
    _report(gate)
    if asked.junit:
        try:
            asked.junit.parent.mkdir(parents=True, exist_ok=True)
            asked.junit.write_bytes(junit(gate))
        except OSError as error:
            # The verdict stands; a pipeline that wants the file must not take it for a failed gate.
            return _trouble(f"the verdict could not be written to {asked.junit}: {error}")
    return gate.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="countersign", description="Change control from CI.")
    command = parser.add_subparsers(required=True, metavar="command").add_parser(
        "gate",
        help="propose a release and wait for its gate",
        description="Propose a release and wait for its gate. Exit code: 0 pass, 1 fail, 2 not"
        " enough evidence, 3 it could not be asked.",
    )
    add = command.add_argument
    add("--release", required=True, help="a digest (sha256:…), or a JSON file to register")
    add("--workflow", help="the workflow's slug; needed to register from a file")
    add("--suite", action="append", choices=SUITES, default=[],
        help="must have been judged on; again for another one")  # fmt: skip
    add("--rationale", default="", help="why; default: the message of the CI run's commit")
    add("--road", choices=("promotion", "maintenance"), default="promotion")
    add("--key", default="", help="what makes this run one and the same; default: the CI run's id")
    add("--junit", type=Path, help="write the verdict to this file as JUnit XML")
    add("--timeout", type=_seconds, default=3600.0, help="seconds to wait for the gate (3600)")
    add("--url", default=os.environ.get("COUNTERSIGN_URL", ""), help="or COUNTERSIGN_URL")
    add("--token-env", default="COUNTERSIGN_TOKEN", metavar="NAME",
        help="the variable that holds the token (COUNTERSIGN_TOKEN)")  # fmt: skip
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _gate(client: GateClient, asked: argparse.Namespace) -> Gate:
    digest = asked.release
    if not digest.startswith("sha256:"):
        if not asked.workflow:
            raise ValueError("name the --workflow to register it for")
        digest = client.register(asked.workflow, _release(Path(asked.release)))
        print(f"Registered {digest}")
    run = asked.key or os.environ.get("GITHUB_RUN_ID") or os.environ.get("CI_PIPELINE_ID") or ""
    rationale = asked.rationale or os.environ.get("CI_COMMIT_TITLE") or "Asked by CI."
    promotion = client.propose(
        digest, rationale, key=key_of(run, digest) if run else "", road=asked.road
    )
    return client.wait(promotion, suites=asked.suite, seconds=asked.timeout, said=_now)


def _release(file: Path) -> dict[str, object]:
    """What to register: `{"title": …, "slots": {…}}`, or the slots alone."""
    found = json.loads(file.read_text(encoding="utf-8-sig"))
    if not isinstance(found, dict):
        raise ValueError("it must hold a JSON object")
    return found if "slots" in found else {"slots": found}


def _report(gate: Gate) -> None:
    print(gate.sentence)
    for row in gate.rows:
        if row.get("outcome") in ("fail", "open"):
            print(f"  {row.get('metric_label')} on {row.get('suite_label')}: {row.get('sentence')}")
    for refusal in gate.refusals:
        print(f"  {refusal.get('sentence')} {refusal.get('remedy')}")
    for suite in gate.missing_suites:
        print(f"  It was not judged on the {suite} suite.")
    for line in gate.settle:
        print(f"  What would settle it: {line}")
    print(gate.page)


def _now(sentence: str) -> None:
    print(sentence, flush=True)


def _trouble(sentence: str) -> int:
    print(f"countersign gate: {sentence}", file=sys.stderr)
    return TROUBLE


if __name__ == "__main__":
    sys.exit(main())
