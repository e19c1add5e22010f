"""The code under test: what runs a release on one case, and how it may be called.

Without an `EvalTarget` a workflow has the Python callable that EVAL_TARGETS names; it is built
from a release's components.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from governance.common.canonical import digest_text
from governance.common.errors import InvalidInputError
from governance.evals import target_calls
from governance.evals.setup_models import EvalTarget
from governance.evals.target_calls import Pace
from governance.evals.target_content import DEFAULTS
from governance.evals.versions import newest
from governance.releases.models import Release
from governance.workflows.models import Workflow

LONGEST_ANSWER = 64 * 1024  # characters kept of one answer
MOST_TOOLS = 200  # names kept of one run
LARGEST_COST = Decimal(10) ** 9


class TargetError(InvalidInputError):
    """A workflow without a usable target, or a target that answers nonsense."""


class Run(Protocol):
    """Runs one release on one case: the case's input, and a number for whatever is random."""

    def __call__(self, case_input: dict[str, Any], /, *, seed: int = 0) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Calling:
    """How a target may be called."""

    is_callable: bool  # our own process does the work
    seconds: int  # for one call
    concurrency: int
    per_minute: int  # 0: no limit
    budget: Decimal | None  # of a run, in the workflow's currency

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Calling:
        return cls(
            is_callable=content["kind"] == "callable",
            seconds=content["seconds"],
            concurrency=content["concurrency"],
            per_minute=content["per_minute"],
            budget=Decimal(content["budget"]) if content["budget"] else None,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a release did with one case. `cost` in the workflow's currency."""

    answer: str
    escalated: bool | None  # None: the target cannot tell
    violations: tuple[str, ...]
    cost: Decimal
    latency_ms: float
    tools: tuple[str, ...] = ()  # names of what was called on the way
    # Tokens, the model that answered, its fingerprint, tries: as far as the target knows.
    usage: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_answer(cls, found: Any) -> Outcome:
        """Read what a target returned.

        Raises:
            TargetError: a key is missing, or a value has the wrong type or is not finite.
        """
        if not isinstance(found, Mapping):
            raise TargetError("The target must answer with a dictionary.")
        answer, escalated = found.get("answer"), found.get("escalated")
        violations = found.get("violations", [])
        if not isinstance(answer, str):
            raise TargetError("The target's answer must be text.")
        if not isinstance(escalated, bool) and ("escalated" not in found or escalated is not None):
            raise TargetError("The target must say whether it escalated: true or false.")
        if not isinstance(violations, list) or not all(isinstance(v, str) for v in violations):
            raise TargetError("The target's violations must be a list of names.")
        tools = found.get("tools", [])
        if not isinstance(tools, list | tuple) or not all(isinstance(name, str) for name in tools):
            raise TargetError("The target's tools must be a list of names.")
        try:
            cost = Decimal(str(found.get("cost", "0")))
            latency = float(found.get("latency_ms", 0.0))
        except (InvalidOperation, TypeError, ValueError):
            raise TargetError("The target's cost and latency must be numbers.") from None
        if not cost.is_finite() or not 0 <= cost < LARGEST_COST:
            raise TargetError(f"The target's cost of {cost} is no cost.")
        if not math.isfinite(latency) or latency < 0:
            raise TargetError(f"The target's latency of {latency} ms is no latency.")
        return cls(
            answer=storable(answer)[:LONGEST_ANSWER],
            escalated=escalated,
            violations=tuple(storable(name)[:100] for name in violations),
            cost=cost.quantize(Decimal("0.00000001")),
            latency_ms=latency,
            tools=tuple(storable(name)[:100] for name in tools[:MOST_TOOLS]),
            usage=found.get("usage") or {},
        )


def storable(text: str) -> str:
    """Drop what PostgreSQL cannot hold: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def target_name(workflow_slug: str) -> str:
    """Return the dotted name that builds the workflow's target.

    Raises:
        TargetError: the setting names none.
    """
    name = settings.EVAL_TARGETS.get(workflow_slug)
    if not name or "." not in name:
        raise TargetError(f"EVAL_TARGETS names no target for the workflow {workflow_slug!r}.")
    return str(name)


def current_target(workflow: Workflow) -> EvalTarget | None:
    """Return the target in use: the newest version, where the workflow has one."""
    return newest(EvalTarget, workflow)


def content_of(target: EvalTarget | None) -> Mapping[str, Any]:
    """Return what a target says; without one, what holds for a callable of EVAL_TARGETS."""
    return DEFAULTS["callable"] if target is None else target.content


def build_target(
    release: Release, target: EvalTarget | None = None, pace: Pace | None = None
) -> Run:
    """Build what runs `release`.

    Args:
        target: how it is called; by default the callable of EVAL_TARGETS.
        pace: shared by the calls of one run, so that they take breaks together.

    Raises:
        TargetError: the target cannot be imported, or refuses these components.
    """
    content = content_of(target)
    declared = {slot: said for slot, said in release.contents().items() if said}
    if content["kind"] == "callable":
        return _callable(release, declared)
    build = target_calls.openai if content["kind"] == "openai" else target_calls.http
    try:
        call = build(content, release.digest, declared)
    except InvalidInputError as error:
        raise TargetError(f"The target cannot run {release}: {error}") from error
    shared = pace or Pace()

    def run(case_input: dict[str, Any], /, *, seed: int = 0) -> Mapping[str, Any]:
        return target_calls.patiently(
            lambda: call(case_input, seed=seed), tries=content["tries"], pace=shared
        )

    return run


def _callable(release: Release, declared: Mapping[str, Any]) -> Run:
    name = target_name(release.workflow.slug)
    module_name, _, attribute = name.rpartition(".")
    try:
        build = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise TargetError(f"The target {name} cannot be imported: {error}") from error
    try:
        run = build(declared)
    except Exception as error:  # whatever the target's own code raises
        raise TargetError(f"The target {name} refuses {release}: {error}") from error
    if not callable(run):
        raise TargetError(f"The target {name} built nothing that can be called.")
    if _takes_seed(run):
        return run  # type: ignore[no-any-return]
    return lambda case_input, /, *, seed=0: run(case_input)


def _takes_seed(run: Callable[..., Any]) -> bool:
    try:
        return "seed" in inspect.signature(run).parameters
    except (TypeError, ValueError):
        return False


def target_fingerprint(workflow_slug: str) -> str:
    """Return a digest that changes when the target is another one, or its source changes."""
    target = EvalTarget.objects.filter(workflow__slug=workflow_slug).order_by("-version").first()
    content = content_of(target)
    if content["kind"] == "callable":
        return source_fingerprint(target_name(workflow_slug))
    # How fast and how often it is asked changes no answer.
    told = {key: value for key, value in content.items() if key not in HOW_FAST}
    return digest_text(json.dumps(told, sort_keys=True))


HOW_FAST = ("concurrency", "per_minute", "tries", "budget")


@lru_cache(maxsize=64)
def source_fingerprint(name: str) -> str:
    """Return a digest of a dotted name and the source of its module."""
    module_name = name.rpartition(".")[0]
    try:
        spec = find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    source = ""
    if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
        source = Path(spec.origin).read_text(encoding="utf-8", errors="replace")
    return digest_text(f"{name}\n{source}")
