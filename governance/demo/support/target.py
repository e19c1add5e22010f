"""The support router as evals call it: one case in, what the release did with it out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from governance.common.canonical import digest
from governance.demo.support.library import chosen_library, open_library
from governance.demo.support.router import Router
from governance.demo.support.router import build as build_router
from governance.demo.support.suites import case_of

KEPT = 8  # routers; a corpus of 10,000 documents takes about 100 MB

_routers: OrderedDict[str, Router] = OrderedDict()
_lock = threading.Lock()


def router_for(components: Mapping[str, Mapping[str, Any]]) -> Router:
    """Return the router of these components, built once per content."""
    key = digest({slot: dict(content) for slot, content in components.items()})
    with _lock:
        if key not in _routers:
            _routers[key] = build_router(components)
            while len(_routers) > KEPT:
                _routers.popitem(last=False)
        _routers.move_to_end(key)
        return _routers[key]


def build(
    components: Mapping[str, Mapping[str, Any]],
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the callable that answers one case with this release.

    Raises:
        ReleaseError: the release cannot be run; the sentence says why.
    """
    router = router_for(components)

    def run(case_input: dict[str, Any]) -> dict[str, Any]:
        decision = router.decide(str(case_input["text"]))
        return {
            "answer": decision.answer,
            "escalated": decision.escalated,
            "violations": list(decision.violations),
            "cost": str(decision.cost),
            "latency_ms": decision.latency_ms,
        }

    return run


def labelled_cases(case_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the mail behind each case id of the demo's receipts, with its label.

    The demo knows every label. A real help desk knows those that an agent has set.
    """
    by_id = dict(open_library().by_id) | dict(chosen_library().by_id)
    found = {}
    for case_id in case_ids:
        message = by_id.get(message_id(case_id))
        if message is not None:
            found[case_id] = {**case_of(message), "key": case_id, "must_pass": False}
    return found


def message_id(case_id: str) -> str:
    """Return the id of the message in a case id such as `kw-20260831-0017.dlv-004`."""
    return case_id.partition(".")[2]
