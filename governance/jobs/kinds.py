"""Registered kinds of work. A package registers the handler for its own kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from governance.jobs.services import Claim

Handler = Callable[["Claim"], None]
# Told the payload, the slot and the error of a job that was given up for good.
OnFailed = Callable[[dict[str, Any], str, str], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of work is done. `lease`: how long a silent worker keeps it.

    `on_failed` runs after the last attempt; a crash just then can lose the call. `every`: work of
    the product itself, which comes again without anybody having scheduled it.
    """

    name: str
    handler: Handler
    lease: timedelta
    on_failed: OnFailed | None = None
    every: timedelta | None = None


_kinds: dict[str, Kind] = {}


def job_kind(
    name: str,
    *,
    lease: timedelta = timedelta(seconds=60),
    on_failed: OnFailed | None = None,
    every: timedelta | None = None,
) -> Callable[[Handler], Handler]:
    """Register the decorated function as the handler of `name`."""

    def register(handler: Handler) -> Handler:
        if name in _kinds and _kinds[name].handler is not handler:
            raise RuntimeError(f"job kind {name!r} has a handler already")
        _kinds[name] = Kind(name, handler, lease, on_failed, every)
        return handler

    return register


def kind(name: str) -> Kind:
    return _kinds[name]


def is_registered(name: str) -> bool:
    return name in _kinds


def recurring() -> list[tuple[str, timedelta]]:
    """The kinds of work that come again by themselves, and how often."""
    return [(kind.name, kind.every) for kind in _kinds.values() if kind.every is not None]
