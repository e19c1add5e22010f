"""Taking personal data out of text before it is first written. Pure.

Receipts and spans carry no conversation (spans keep what people wrote as keyed hashes only), but
an error message or a reference may still quote an address or a card number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

EMAIL = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
IBAN = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
# The first digits are those of the card networks, so that times in nanoseconds are none.
CARD = re.compile(r"(?<![0-9A-Za-z])(?:[2-6][ -]?)(?:[0-9][ -]?){11,17}[0-9](?![0-9A-Za-z])")
DIGITS = re.compile(r"[0-9]{2}")
# How long a number is, by its first digit.
LENGTHS = {"2": {16}, "3": {14, 15, 16}, "4": {13, 16, 19}, "5": {16}, "6": {16, 17, 18, 19}}
SHORTEST = 6  # characters: nothing shorter holds any of them


def redact(text: str, patterns: Sequence[re.Pattern[str]] = ()) -> str:
    """Return `text` with e-mail addresses, IBANs and card numbers replaced by their names.

    Args:
        patterns: an operator's own, replaced by ⟨removed⟩.
    """
    if len(text) < SHORTEST:
        return text
    if "@" in text:
        text = EMAIL.sub("⟨e-mail⟩", text)
    if len(text) > 12 and DIGITS.search(text):
        text = IBAN.sub(lambda found: "⟨IBAN⟩" if is_iban(found[0]) else found[0], text)
        text = CARD.sub(lambda found: "⟨card⟩" if is_card(found[0]) else found[0], text)
    for pattern in patterns:
        text = pattern.sub("⟨removed⟩", text)
    return text


def redact_identity(name: str, patterns: Sequence[re.Pattern[str]] = ()) -> str:
    """Return a name that tells cases apart; one that gives a person away becomes a hash."""
    if redact(name, patterns) == name:
        return name
    return "hash:" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_iban(text: str) -> bool:
    """Whether the check digits are right (ISO 13616: the rest modulo 97 is 1)."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def is_card(text: str) -> bool:
    """Whether the check digit is right (Luhn)."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if len(digits) not in LENGTHS[text[0]]:
        return False
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return total % 10 == 0
