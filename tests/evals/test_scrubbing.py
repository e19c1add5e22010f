"""Personal data is taken out of every place of a case where somebody may have put it."""

from __future__ import annotations

from governance.evals.scrubbing import scrubbed, sentence


def test_words_numbers_and_names_of_fields_are_looked_at_in_every_place() -> None:
    row = scrubbed(
        {
            "key": "k", "cluster": "anna@example.com", "category": "bob@example.com",
            "segment": "DE89370400440532013000", "reason": "He wrote to eve@example.com.",
            "input": {"card": 4111111111111111, "carl@example.com": [1, 2.5, True, None, "x"]},
            "expected": {"answer": "yes"}, "tags": ["dora@example.com"],
        }
    )  # fmt: skip
    assert row["cluster"] == row["category"] == "⟨e-mail⟩"
    assert row["segment"] == "⟨IBAN⟩"
    assert row["input"] == {"card": "⟨card⟩", "⟨e-mail⟩": [1, 2.5, True, None, "x"]}
    assert row["expected"] == {"answer": "yes"}
    assert "5 e-mail addresses" in sentence(row)
    assert "1 card number," in sentence(row)
