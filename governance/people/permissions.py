"""One function answers who may do what: `can(user, verb, obj)`.

Each package registers its rule for its verbs; an unregistered verb is an error, not a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from governance.common.errors import NotAllowedError
from governance.people.models import User

Rule = Callable[[User, Any], bool]
_rules: dict[str, tuple[Rule, str]] = {}


def register_rule(verb: str, rule: Rule, refusal: str) -> None:
    """Register who may do `verb`, and the sentence for those who may not."""
    if verb in _rules and _rules[verb][0] is not rule:
        raise RuntimeError(f"{verb!r} has a rule already")
    _rules[verb] = (rule, refusal)


def can(user: User, verb: str, obj: Any = None) -> bool:
    """Whether `user` may do `verb` to `obj`. Superusers are not exempt."""
    rule, _ = _rules[verb]
    return bool(user.is_authenticated and user.is_active and rule(user, obj))


def require(user: User, verb: str, obj: Any = None) -> None:
    """Raise NotAllowedError with the registered sentence unless `user` may."""
    if not can(user, verb, obj):
        raise NotAllowedError(_rules[verb][1])


def registered_verbs() -> list[str]:
    return sorted(_rules)


def has_role(*roles: str) -> Rule:
    """A rule that looks at the installation role only."""
    return lambda user, obj: user.role in roles


register_rule(
    "people.manage", has_role(User.Role.ADMIN), "Only an administrator manages people and tokens."
)
