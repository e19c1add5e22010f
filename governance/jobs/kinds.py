"""Registered kinds of work. A package registers the handler for its own kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from governance.jobs.services import Claim

Handler = Callable[["Claim"], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of work is done. `lease`: how long a silent worker keeps it."""

    name: str
    handler: Handler
    lease: timedelta


_kinds: dict[str, Kind] = {}


def job_kind(
    name: str, *, lease: timedelta = timedelta(seconds=60)
) -> Callable[[Handler], Handler]:
    """Register the decorated function as the handler of `name`."""

    def register(handler: Handler) -> Handler:
        if name in _kinds and _kinds[name].handler is not handler:
            raise RuntimeError(f"job kind {name!r} has a handler already")
        _kinds[name] = Kind(name, handler, lease)
        return handler

    return register


def kind(name: str) -> Kind:
    return _kinds[name]


def is_registered(name: str) -> bool:
    return name in _kinds
