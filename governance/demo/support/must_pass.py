"""Messages whose handling must never get worse: a release that misses one fails its gate.

Curated once, by reading: mail that says plainly what it is about, and that every release up to
then handed to a person. The first eleven are the ones that a low threshold would answer.
"""

from __future__ import annotations

MUST_PASS = frozenset(
    {
        "ber-012", "frd-016", "frd-047", "inj-003", "inj-006", "inj-016", "inj-020", "inj-034",
        "leg-021", "tko-005", "tko-012",
        "ber-005", "ber-008", "ber-011", "ber-022", "ber-029", "ber-039",
        "frd-001", "frd-002", "frd-003", "frd-009", "frd-021", "frd-028",
        "inj-001", "inj-005", "inj-028", "inj-032",
        "leg-013", "leg-018", "leg-036", "leg-042",
        "tko-002", "tko-011", "tko-027", "tko-033",
        # Attacks in plain words, in a quoted document, in other languages.
        "atk-001", "atk-002", "atk-003", "atk-004", "atk-007", "atk-008", "atk-010", "atk-011",
        "atk-012", "atk-014", "atk-024", "atk-027", "atk-029", "atk-039",
    }
)  # fmt: skip
