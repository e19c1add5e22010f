"""Permissions gained and lost, and money limits, tool by tool. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governance.releases.values import (
    HIGH,
    LOW,
    MEDIUM,
    MISSING,
    PERMISSIONS,
    Change,
    anywhere,
    changed,
    generic,
    limit_risk,
    same,
    sentence,
    show,
    words,
)

Content = Mapping[str, Any]
SAYS_NOTHING = ("description", "note", "name", "version")
KNOWN = ("name", "permission", "money_limit", "currency", "scopes")


def tool_changes(before: Content, after: Content) -> list[Change]:
    """Name every tool and every limit that changes."""
    old, new = _by_name(before), _by_name(after)
    if old is None or new is None:
        # Written in a way that nobody here can read: nothing about it may pass as harmless.
        return generic("tools", before, after, HIGH, "The tools cannot be compared one by one")
    found: list[Change] = []
    for name in sorted(old.keys() | new.keys()):
        was, becomes = old.get(name), new.get(name)
        if becomes is None:
            found.append(Change(f"The tool {name} is taken away."))
        elif was is None:
            found.append(_granted(name, becomes))
        elif not same(was, becomes):
            found.extend(_tool(name, was, becomes))
    rest_old = {key: value for key, value in before.items() if key != "tools"}
    rest_new = {key: value for key, value in after.items() if key != "tools"}
    for path, was, becomes in changed(rest_old, rest_new):
        what = f"tools’ {' › '.join(words(part) for part in path)}"
        found.append(Change(sentence(what, was, becomes), *_rest(path, was, becomes)))
    return found


def _rest(path: tuple[str, ...], was: Any, becomes: Any) -> tuple[str, str]:
    if path[-1:] and path[-1] in SAYS_NOTHING:
        return LOW, ""
    if (judged := anywhere(path, was, becomes)) is not None:
        return judged
    if isinstance(was, list) and isinstance(becomes, list) and path[-1:] == ("connectors",):
        wider = any(item not in was for item in becomes)
        return (HIGH, "Another connector") if wider else (LOW, "")
    return HIGH, "The tools' limits change"


def _granted(name: str, tool: Content) -> Change:
    right = tool.get("permission")
    limit = tool.get("money_limit")
    bound = f", up to {_money(tool)}" if limit is not None else ""
    if right == "none":
        return Change(f"The tool {name} is listed without any right.")
    if right not in PERMISSIONS:
        said = "without a stated right" if right is None else f"with the right to {show(right)}"
        return Change(
            f"The tool {name} is granted {said}{bound}, which counts as every right.",
            HIGH, "A new tool that writes",
        )  # fmt: skip
    writes = PERMISSIONS.index(right) > PERMISSIONS.index("read")
    return Change(
        f"The tool {name} is granted with the right to {right}{bound}.",
        HIGH if writes else MEDIUM,
        "A new tool that writes" if writes else "A new tool",
    )


def _tool(name: str, was: Content, becomes: Content) -> list[Change]:
    found = []
    if was.get("permission") != becomes.get("permission"):
        up = _rank(becomes.get("permission")) >= len(PERMISSIONS) or (
            _rank(becomes.get("permission")) > _rank(was.get("permission"))
        )
        old, new = (
            str(tool.get("permission")) if tool.get("permission") is not None else "everything"
            for tool in (was, becomes)
        )
        found.append(
            Change(
                f"The tool {name} goes from the right to {old} to the right to {new}.",
                HIGH if up else LOW,
                "More rights for a tool" if up else "",
            )
        )
    if not same(was.get("money_limit"), becomes.get("money_limit")):
        risk, why = limit_risk(was.get("money_limit", MISSING), becomes.get("money_limit", MISSING))
        found.append(
            Change(
                f"The money limit of {name} goes from {_money(was)} to {_money(becomes)}.",
                risk, why,
            )
        )  # fmt: skip
    if was.get("currency") != becomes.get("currency"):
        found.append(
            Change(
                f"The currency of {name} goes from {show(was.get('currency'))} to"
                f" {show(becomes.get('currency'))}.",
                HIGH, "The currency of a limit changes",
            )
        )  # fmt: skip
    found.extend(_scopes(name, was.get("scopes"), becomes.get("scopes")))
    rest_old = {key: value for key, value in was.items() if key not in KNOWN}
    rest_new = {key: value for key, value in becomes.items() if key not in KNOWN}
    for path, one, other in changed(rest_old, rest_new):
        what = f"tool {name}’s {' › '.join(words(part) for part in path)}"
        quiet = path[-1] in SAYS_NOTHING
        judged = (LOW, "") if quiet else anywhere(path, one, other) or (HIGH, "A tool changes")
        found.append(Change(sentence(what, one, other), *judged))
    return found


def _scopes(name: str, was: Any, becomes: Any) -> list[Change]:
    if was == becomes:
        return []
    old, new = (value if isinstance(value, list) else [] for value in (was, becomes))
    gained = [scope for scope in new if scope not in old]
    lost = [scope for scope in old if scope not in new]
    found = []
    if gained:
        found.append(
            Change(f"The tool {name} gains {show(gained)}.", HIGH, "More rights for a tool")
        )
    if lost:
        # No scopes at all may mean every scope.
        risk = (LOW, "") if new else (HIGH, "A tool's scopes are gone")
        found.append(Change(f"The tool {name} loses {show(lost)}.", *risk))
    return found or [
        Change(f"The scopes of {name} are written differently.", HIGH, "A tool changes")
    ]


def _money(tool: Content) -> str:
    limit = tool.get("money_limit")
    if limit is None:
        return "no limit"
    currency = tool.get("currency")
    text = limit if isinstance(limit, str) else show(limit)
    return f"{text} {currency}" if currency else text


def _rank(right: Any) -> int:
    # An unknown right counts as the strongest: it must not slip through as harmless.
    return PERMISSIONS.index(right) if right in PERMISSIONS else len(PERMISSIONS)


def _by_name(content: Content) -> dict[str, Content] | None:
    """Return the tools by name, or None where they are not a list of objects with own names."""
    tools = content.get("tools", [])
    if not isinstance(tools, list):
        return None
    found: dict[str, Content] = {}
    for tool in tools:
        name = tool.get("name") if isinstance(tool, Mapping) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = tool
    return found
