"""Text that strangers wrote, made safe to look at. Pure.

Templates escape it anyway; what remains is text that lies: control characters that hide, and
bidirectional marks that show "txt.exe" as "exe.txt". They are shown by their names instead.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

LONGEST_SHOWN = 64 * 1024  # characters
# Zero-width and bidirectional marks have category Cf; surrogates and private use can hide too.
HIDING = ("Cc", "Cf", "Cs", "Co")
# Whatever may have to be looked at: a page is mostly ASCII, so the search is over in no time.
UNUSUAL = re.compile(r"[^\t\n\x20-\x7e]")


def reveal(text: object) -> str:
    """Return the text with every hidden character shown as ⟦U+202E⟧, cut where it is too long."""
    whole = str(text)
    shown = mark(whole[:LONGEST_SHOWN])
    left = len(whole) - LONGEST_SHOWN
    return f"{shown}\n⟦{left:,} more characters are not shown⟧" if left > 0 else shown


def hides_something(text: object) -> bool:
    """Whether a character of this text would not show."""
    shown = str(text)[:LONGEST_SHOWN]
    return mark(shown) != shown


def mark(text: str) -> str:
    """Return text of any length, a whole page for example, with every hidden character shown.

    A line's end as browsers send it, CR and LF, is a line's end and stays.
    """
    return UNUSUAL.sub(_marked, text)


def _marked(found: re.Match[str]) -> str:
    character = found[0]
    if unicodedata.category(character) not in HIDING:
        return character
    if character == "\r" and found.string.startswith("\n", found.end()):
        return character
    return f"⟦U+{ord(character):04X}⟧"


def reveal_json(value: Any) -> str:
    """Return JSON laid out for reading, with hidden characters shown."""
    return reveal(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str))
