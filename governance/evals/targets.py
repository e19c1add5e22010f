"""The code under test: a Python callable per workflow, built from a release's components."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings

from governance.common.canonical import digest_text
from governance.common.errors import InvalidInputError
from governance.releases.models import Release

LONGEST_ANSWER = 64 * 1024  # characters kept of one answer
LARGEST_COST = Decimal(10) ** 9

Run = Callable[[dict[str, Any]], Mapping[str, Any]]


class TargetError(InvalidInputError):
    """A workflow without a usable target, or a target that answers nonsense."""


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
        if not isinstance(escalated, bool):
            raise TargetError("The target must say whether it escalated: true or false.")
        if not isinstance(violations, list) or not all(isinstance(v, str) for v in violations):
            raise TargetError("The target's violations must be a list of names.")
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


def build_target(release: Release) -> Run:
    """Build the callable that runs `release`.

    Raises:
        TargetError: the target cannot be imported, or refuses these components.
    """
    name = target_name(release.workflow.slug)
    module_name, _, attribute = name.rpartition(".")
    try:
        build = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise TargetError(f"The target {name} cannot be imported: {error}") from error
    declared = {slot: content for slot, content in release.contents().items() if content}
    try:
        run = build(declared)
    except Exception as error:  # whatever the target's own code raises
        raise TargetError(f"The target {name} refuses {release}: {error}") from error
    if not callable(run):
        raise TargetError(f"The target {name} built nothing that can be called.")
    return run  # type: ignore[no-any-return]


def target_fingerprint(workflow_slug: str) -> str:
    """Return a digest that changes when the target is another one, or its source changes."""
    return _fingerprint(target_name(workflow_slug))


@lru_cache(maxsize=64)
def _fingerprint(name: str) -> str:
    module_name = name.rpartition(".")[0]
    try:
        spec = find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    source = ""
    if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
        source = Path(spec.origin).read_text(encoding="utf-8", errors="replace")
    return digest_text(f"{name}\n{source}")
