"""Two texts word by word. Pure."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from governance.releases.values import changed, words

TOKEN = re.compile(r"\s+|[^\s]+")
MOST_TOKENS = 3_000  # of the part that differs; above it, lines are compared instead of words
AROUND = 24  # tokens of unchanged text that stay beside a change
MOST_TEXTS = 40
SHORTEST = 12  # characters: shorter texts are said whole in the sentence


@dataclass(frozen=True, slots=True)
class TextDiff:
    """One text: (mark, words) with the marks ' ', '-', '+', and '…' for what was left out."""

    name: str
    pieces: tuple[tuple[str, str], ...]


def text_diffs(before: object, after: object) -> tuple[TextDiff, ...]:
    """Return every text that differs, word by word."""
    found = []
    for path, was, becomes in changed(before, after):
        if is_wording(was, becomes):
            old = was if isinstance(was, str) else ""
            new = becomes if isinstance(becomes, str) else ""
            name = " › ".join(words(part) for part in path)
            found.append(TextDiff(name[:1].upper() + name[1:], word_diff(old, new)))
            if len(found) >= MOST_TEXTS:
                break
    return tuple(found)


def is_wording(was: object, becomes: object) -> bool:
    """Whether a change is one of a text, which is read word by word."""
    texts = [side for side in (was, becomes) if isinstance(side, str)]
    return any(" " in text for text in texts) and max(map(len, texts)) >= SHORTEST


def word_diff(old: str, new: str) -> tuple[tuple[str, str], ...]:
    """Return what stays, goes and comes, in the order of the text.

    Put together, the pieces ' ' and '-' are the old text and ' ' and '+' the new one, where
    nothing was left out.
    """
    before, after = TOKEN.findall(old), TOKEN.findall(new)
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    first, second = before[start : len(before) - end], after[start : len(after) - end]
    if max(len(first), len(second)) > MOST_TOKENS:
        first = "".join(first).splitlines(keepends=True)
        second = "".join(second).splitlines(keepends=True)
    pieces: list[tuple[str, str]] = [(" ", "".join(before[:start]))]
    matcher = difflib.SequenceMatcher(a=first, b=second, autojunk=len(first) > MOST_TOKENS)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            pieces.append((" ", "".join(first[i:j])))
            continue
        pieces.append(("-", "".join(first[i:j])))
        pieces.append(("+", "".join(second[k:m])))
    pieces.append((" ", "".join(before[len(before) - end :])))
    return tuple(_shortened([piece for piece in pieces if piece[1]]))


def _shortened(pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out long stretches that stay as they were."""
    shown: list[tuple[str, str]] = []
    for position, (mark, text) in enumerate(pieces):
        tokens = TOKEN.findall(text) if mark == " " else []
        if len(tokens) <= 3 * AROUND:
            shown.append((mark, text))
            continue
        if position > 0:
            shown.append((" ", "".join(tokens[:AROUND])))
        shown.append(("…", "…"))
        if position < len(pieces) - 1:
            shown.append((" ", "".join(tokens[-AROUND:])))
    return shown
