"""Unpacking, changing and checking evidence packs, as somebody without Countersign would."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile


def unpack(pack: Path, folder: Path) -> Path:
    with ZipFile(pack) as file:
        file.extractall(folder)
    return folder


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def check(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the pack's own verify.py, alone and outside of the project."""
    script = place / "verify.py" if place.is_dir() else place.with_suffix(".py")
    if place.is_file():
        with ZipFile(place) as file:
            script.write_bytes(file.read("verify.py"))
        words = (str(place), *words)
    return subprocess.run(
        [sys.executable, "-I", str(script), *words],
        cwd=place.parent, capture_output=True, text=True, timeout=120, check=False, env={},
    )  # fmt: skip


def flip_a_byte(path: Path) -> None:
    """Change one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def rewrite_json(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    """Change a file as a careful forger would: and the manifest with it."""
    path = folder / name
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    forge_manifest(folder, name)


def forge_manifest(folder: Path, name: str) -> None:
    """Mend the manifest after a change of a file, or after its removal."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = [one for one in manifest["files"] if (folder / one["path"]).exists()]
    for file in manifest["files"]:
        if file["path"] == name:
            data = (folder / name).read_bytes()
            file["bytes"] = len(data)
            file["sha256"] = "sha256:" + hashlib.sha256(data).hexdigest()
    manifest.pop("digest")
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    manifest["digest"] = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
