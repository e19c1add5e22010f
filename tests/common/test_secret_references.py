"""Secrets are named, never written: what a reference finds, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from governance.common import secret_references
from governance.common.errors import InvalidInputError


def test_a_secret_is_found_by_reference_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [str(tmp_path / "secrets")]
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "hook").write_text("from a file\n")
    (tmp_path / "outside").write_text("not for you")
    (tmp_path / "secrets" / "link").symlink_to(tmp_path / "outside")
    monkeypatch.setenv("COUNTERSIGN_HOOK", "from the environment")
    monkeypatch.setenv("SECRET_KEY", "the product's own")
    assert secret_references.resolve("env:COUNTERSIGN_HOOK", folders=folders) == (
        b"from the environment"
    )
    found = secret_references.resolve(f"file:{tmp_path}/secrets/hook", folders=folders)
    assert found == b"from a file"
    for wrong in (
        "", "hunter2", "env:", "env:SECRET_KEY", "env:COUNTERSIGN_", "env:COUNTERSIGN_MISSING",
        "file:", "file:/etc/passwd", f"file:{tmp_path}/outside", f"file:{tmp_path}/secrets/link",
        f"file:{tmp_path}/secrets/../outside", f"file:{tmp_path}/secrets/missing",
        f"file:{tmp_path}/secrets", "env:COUNTERSIGN_HOOK\n",
    ):  # fmt: skip
        with pytest.raises(InvalidInputError) as refused:
            secret_references.resolve(wrong, folders=folders)
        assert "not for you" not in str(refused.value)
