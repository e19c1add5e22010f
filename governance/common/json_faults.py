"""Where in a JSON value something stands that cannot be hashed, in words. Pure.

Looked for only when something is wrong already, so it may take its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LARGEST_SAFE_INTEGER = 2**53 - 1
LONGEST_KEY = 60  # characters of a key in a path
LONGEST_PATH = 300  # characters
TOP = "the top level"


class Twice(dict[str, Any]):
    """Stands for an object in which a key stood twice, until its path is known."""

    def __init__(self, pairs: dict[str, Any], key: str) -> None:
        super().__init__(pairs)
        self.key = key


def fault(value: Any, deepest: int) -> str:
    """Return the first thing that canonical JSON cannot hold, with its path; "" for none."""
    for path, item in _walk(value, deepest):
        if said := _what(item):
            return f"{said} at {path or TOP}."
    return ""


def _what(item: Any) -> str:
    if isinstance(item, Twice):
        return f"The key {item.key[:LONGEST_KEY]!r} stands twice in the object"
    if isinstance(item, dict):
        return next(
            (
                "A key is not text that can be written"
                for key in item
                if not isinstance(key, str) or _is_broken(key)
            ),
            "",
        )
    if isinstance(item, bool) or item is None or isinstance(item, list | tuple):
        return ""
    if isinstance(item, float):
        return "" if float("-inf") < item < float("inf") else f"{_number(item)} is no JSON number"
    if isinstance(item, int):
        if abs(item) <= LARGEST_SAFE_INTEGER:
            return ""
        return "A whole number is larger than JSON keeps exactly (2^53); write it as text"
    if isinstance(item, str):
        return "A text holds half of a character" if _is_broken(item) else ""
    if isinstance(item, TooDeep):
        return f"The JSON is nested deeper than {item.levels} levels"
    return f"{type(item).__name__} is not JSON"


class TooDeep:
    """Stands for what lies deeper than allowed."""

    def __init__(self, levels: int) -> None:
        self.levels = levels


def _number(item: float) -> str:
    return "NaN" if item != item else "Infinity"


def _is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _walk(value: Any, deepest: int) -> Iterator[tuple[str, Any]]:
    """Yield (path, item) in the order of the text, without recursion."""
    pending: list[tuple[str, Any, int]] = [("", value, 0)]
    while pending:
        path, item, depth = pending.pop()
        if depth >= deepest:
            yield path, TooDeep(deepest)
            return
        yield path, item
        if isinstance(item, dict):
            inner = [(_below(path, str(key)), held) for key, held in item.items()]
        elif isinstance(item, list | tuple):
            inner = [(_cut(f"{path}[{number}]"), held) for number, held in enumerate(item)]
        else:
            continue
        pending.extend((name, held, depth + 1) for name, held in reversed(inner))


def _below(path: str, key: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in key[:LONGEST_KEY])
    return _cut(f"{path}.{shown}" if path else shown)


def _cut(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else path[: LONGEST_PATH - 1] + "…"
