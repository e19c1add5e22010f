"""The parts of the client that must agree with the server byte for byte."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import mmh3
import pytest
import rfc8785
from countersign import assignment, canonical
from hypothesis import given
from hypothesis import strategies as st

from governance.rollouts import assignment as servers

PACKAGE = Path(canonical.__file__).parent
TEXT = st.text(st.characters(codec="utf-8"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=70), st.integers(0, 2**32 - 1))
def test_the_hash_is_murmur3(data: bytes, seed: int) -> None:
    assert assignment.murmur3_32(data, seed) == mmh3.hash(data, seed, signed=False)


@given(st.text(max_size=30), st.integers(0, 10_000))
def test_client_and_server_put_each_case_on_the_same_side(case: str, share: int) -> None:
    case = case.encode("utf-8", "ignore").decode()
    assert assignment.bucket("w", "salt", case) == servers.bucket("w", "salt", case)
    assert assignment.is_pilot("w", "salt", case, share) == servers.is_pilot(
        "w", "salt", case, share
    )


@given(JSON)
def test_canonical_json_is_rfc_8785(value: object) -> None:
    assert canonical.canonical(value).encode() == rfc8785.dumps(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1e21, 1e-7, 123456789012345680000.0, 5e-324, -0.0, 1e-06, 1.5])
def test_numbers_are_written_as_ecmascript_writes_them(value: float) -> None:
    assert canonical.canonical(value).encode() == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, {1: "a"}, {"a": object()}])
def test_what_is_no_exact_json_has_no_digest(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical.digest(value)


def test_the_client_needs_nothing_but_the_standard_library() -> None:
    imported: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert imported - {"countersign"} <= sys.stdlib_module_names
    assert (PACKAGE / "py.typed").exists()
