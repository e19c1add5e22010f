"""Cells of CSV files that no spreadsheet takes for a formula. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from io import StringIO

# What a spreadsheet reads as the start of a formula, or skips and then reads on.
STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?\Z")


def safe_cell(value: object) -> str:
    """Return `value` as the text of a cell; text that would be a formula gets a `'` in front.

    Plain numbers stay numbers, negative ones too: only digits and one point can follow the sign.
    """
    if value is None:
        return ""
    text = str(value)
    if NUMBER.match(text) and not isinstance(value, str):
        return text
    return f"'{text}" if text.startswith(STARTS_A_FORMULA) or is_guarded(text) else text


def is_guarded(text: str) -> bool:
    """Whether a text begins as one that was made safe: taking its first `'` away restores it."""
    return text.startswith("'") and text.lstrip("'").startswith(STARTS_A_FORMULA)


def csv_line(cells: Sequence[str]) -> str:
    """Return one line of a CSV file; what is in the cells was made safe before."""
    out = StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()
