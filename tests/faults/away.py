"""An eval target that cannot be reached."""

from __future__ import annotations

from typing import Any


def build(components: Any) -> Any:
    raise ConnectionError("The eval target is away.")
