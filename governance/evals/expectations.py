"""What a case may expect, by name, and what each must look like. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import regex

from governance.common.errors import InvalidInputError

LONGEST_PATTERN = 1_000  # characters
MOST_TEXTS = 200
LONGEST_TEXT = 20_000
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _texts(value: Any) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= LONGEST_TEXT
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST_TEXTS
        and all(isinstance(item, str) and 0 < len(item) <= LONGEST_TEXT for item in value)
    )


def _number(value: Any) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _pattern(value: Any) -> bool:
    return is_pattern(value)


def _schema(value: Any) -> bool:
    return is_schema(value)


# Name -> (what fits, what it has to be).
EXPECTATIONS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "answer": (lambda value: value is None or _text(value), "a text"),
    "must_escalate": (_flag, "true or false"),
    "must_not_escalate": (_flag, "true or false"),
    "contains": (_texts, "a text, or a list of texts"),
    "regex": (_pattern, f"a regular expression of at most {LONGEST_PATTERN:,} characters"),
    "number": (_number, "a number"),
    "schema": (_schema, "a JSON Schema"),
    "set": (_texts, "a text, or a list of texts"),
    "forbidden": (_texts, "a text, or a list of texts"),
    "rubric": (_text, "a text"),
}


def check(key: str, expected: Any) -> dict[str, Any]:
    """Return what a case expects.

    Raises:
        InvalidInputError: nothing is expected, or something that nobody can score.
    """
    if not isinstance(expected, Mapping) or not expected:
        raise InvalidInputError(f"The case {key!r} does not say what is expected.")
    if unknown := sorted(set(expected) - set(EXPECTATIONS)):
        raise InvalidInputError(
            f"The case {key!r} does not say what is expected: nobody scores {unknown[0]!r}."
        )
    for name, value in expected.items():
        fits, wanted = EXPECTATIONS[name]
        if not fits(value):
            raise InvalidInputError(f"The case {key!r}: {name} is {wanted}.")
    if expected.get("must_escalate") and expected.get("must_not_escalate"):
        raise InvalidInputError(
            f"The case {key!r}: a person cannot both have to be asked and not be asked."
        )
    return dict(expected)


def is_pattern(value: Any) -> bool:
    """Whether it is a regular expression; it is searched with a time limit, so any will do."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_PATTERN:
        return False
    try:
        regex.compile(value)
    except (regex.error, RecursionError, OverflowError):
        return False
    return True


def is_schema(value: Any) -> bool:
    """Whether it is a JSON Schema (draft 2020-12) that refers to nothing outside itself."""
    if not isinstance(value, Mapping | bool) or not _is_local(value):
        return False
    try:
        jsonschema.Draft202012Validator.check_schema(value)
    except (jsonschema.SchemaError, RecursionError):
        return False
    return True


def _is_local(value: Any) -> bool:
    """References lead into the schema itself: nothing is fetched."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in ("$ref", "$dynamicRef", "$recursiveRef") and not str(inner).startswith(
                "#/$defs/"
            ):
                return False
            if not _is_local(inner):
                return False
    if isinstance(value, list):
        return all(_is_local(inner) for inner in value)
    return True
