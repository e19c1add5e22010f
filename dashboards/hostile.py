"""Text that strangers wrote, made safe to look at. Pure.

Templates escape it anyway; what remains is text that lies: control characters that hide, and
bidirectional marks that show "txt.exe" as "exe.txt". They are shown by their names instead.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

LONGEST_SHOWN = 64 * 1024  # characters
KEPT = "\n\t"
# Zero-width and bidirectional marks have category Cf; surrogates and private use can hide too.
HIDING = ("Cc", "Cf", "Cs", "Co")


def reveal(text: object) -> str:
    """Return the text with every hidden character shown as ⟦U+202E⟧, cut where it is too long."""
    whole = str(text)
    shown = "".join(map(_revealed, whole[:LONGEST_SHOWN]))
    left = len(whole) - LONGEST_SHOWN
    return f"{shown}\n⟦{left:,} more characters are not shown⟧" if left > 0 else shown


def hides_something(text: object) -> bool:
    """Whether a character of this text would not show."""
    return any(_hides(character) for character in str(text)[:LONGEST_SHOWN])


def reveal_json(value: Any) -> str:
    """Return JSON laid out for reading, with hidden characters shown."""
    return reveal(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str))


def _hides(character: str) -> bool:
    return character not in KEPT and unicodedata.category(character) in HIDING


def _revealed(character: str) -> str:
    return f"⟦U+{ord(character):04X}⟧" if _hides(character) else character
