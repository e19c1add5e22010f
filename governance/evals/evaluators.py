"""A workflow's own scorers: a new version by one person, confirmed by another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from governance.common.canonical import canonical
from governance.common.errors import InvalidInputError
from governance.evals import judges
from governance.evals.actors import confirms, edits
from governance.evals.scorer_kinds import KINDS
from governance.evals.setup_models import Evaluator
from governance.evals.versions import add_version, confirm_version, newest
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

MOST_SCORERS = 30
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
# What a scorer decides beside its own number.
ROLES = {
    "correct": "whether the answer is right",
    "policy": "whether the policy was kept",
    "": "nothing by itself",
}
DECIDES_CORRECT = {
    "exact", "normalised", "label", "contains", "regex", "numeric", "schema", "overlap",
    "similarity",
}  # fmt: skip
DECIDES_POLICY = {"forbidden", "personal_data", "tools"}
CALLABLE, JUDGE = "callable", "judge"


register_rule(
    "evaluator.set", edits, "Analysts, builders and the KPI owner say how answers are scored."
)
register_rule(
    "evaluator.confirm",
    lambda user, evaluator: confirms(user, evaluator.created_by_id),
    "Another person confirms an evaluator: an executive, an analyst or a KPI owner.",
)


def clean(content: Any) -> dict[str, Any]:
    """Return an evaluator's content with every option there.

    Raises:
        InvalidInputError: in one sentence, with the scorer and what is wrong.
    """
    listed = content.get("scorers") if isinstance(content, Mapping) else None
    if not isinstance(listed, list) or set(content) != {"scorers"}:
        raise InvalidInputError('Write {"scorers": […]}, a list of scorers.')
    if not 1 <= len(listed) <= MOST_SCORERS:
        raise InvalidInputError(f"An evaluator has 1 to {MOST_SCORERS} scorers.")
    found = [_scorer(entry) for entry in listed]
    names = [entry["name"] for entry in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InvalidInputError(f"Two scorers are named {twice!r}.")
    return {"scorers": found}


def _scorer(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise InvalidInputError("A scorer is an object with a name and a kind.")
    name, kind = entry.get("name"), entry.get("kind")
    if not isinstance(name, str) or not NAME.match(name):
        raise InvalidInputError(
            "A scorer's name has small letters, digits and _, and begins with a letter."
        )
    if not isinstance(kind, str) or kind not in {*KINDS, CALLABLE, JUDGE}:
        known = ", ".join((*KINDS, CALLABLE, JUDGE))
        raise InvalidInputError(f"The scorer {name!r}: a kind is one of {known}.")
    usual = "correct" if kind in DECIDES_CORRECT else "policy" if kind in DECIDES_POLICY else ""
    role = entry.get("role", usual)
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidInputError(f"The scorer {name!r}: a role is correct, policy or empty.")
    options = {key: value for key, value in entry.items() if key not in ("name", "kind", "role")}
    try:
        options = _options(kind, options)
    except InvalidInputError as error:
        raise InvalidInputError(f"The scorer {name!r}: {error}") from error
    return {"name": name, "kind": kind, "role": role, **options}


def _options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if kind == JUDGE:
        return judges.clean(options)
    if kind == CALLABLE:
        call = options.get("call")
        is_known = isinstance(call, str) and call in settings.EVAL_SCORERS
        if set(options) != {"call"} or not is_known:
            raise InvalidInputError("name one of EVAL_SCORERS as its call.")
        return dict(options)
    known = KINDS[kind].options
    if unknown := sorted(set(options) - set(known)):
        raise InvalidInputError(f"this kind has no {unknown[0]!r}.")
    for key, value in options.items():
        _, fits, wanted = known[key]
        if not fits(value):
            raise InvalidInputError(f"{key} is {wanted}.")
    return {key: options.get(key, usual) for key, (usual, _, _) in known.items()}


def current_evaluator(workflow: Workflow) -> Evaluator | None:
    """Return the evaluator in use: the newest version, where the workflow has one."""
    return newest(Evaluator, workflow)


def set_evaluator(
    workflow: Workflow, content: Mapping[str, Any], *, actor: User, reason: str
) -> Evaluator:
    """Put new scorers into use.

    Raises:
        InvalidInputError: the content is no evaluator, or no reason is given.
        StateConflictError: nothing would change.
        NotAllowedError: a person who does not edit evals.
    """
    require(actor, "evaluator.set", workflow)
    return add_version(
        Evaluator, workflow, canonical(clean(content)), actor=actor, reason=reason,
        verb="evaluator.set",
    )  # fmt: skip


def confirm_evaluator(evaluator: Evaluator, *, actor: User) -> Evaluator:
    """Say yes to somebody else's scorers; `confirm_version` says what it raises."""
    return confirm_version(
        evaluator, actor=actor, rule="evaluator.confirm", verb="evaluator.confirmed"
    )
