"""plotly.js is served from its installed package, never copied into the project."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage, Storage

NAME = "plotly/plotly.min.js"


class PlotlyFinder(BaseFinder):
    """Finds `plotly/plotly.min.js` in the plotly wheel."""

    def _folder(self) -> Path:
        # files("plotly") would import 1 s worth of package; the spec alone gives the folder.
        from importlib.util import find_spec

        spec = find_spec("plotly")
        if spec is None or spec.origin is None:
            raise FileNotFoundError("The plotly package is not installed.")
        return Path(spec.origin).parent / "package_data"

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        if path != NAME:
            return []
        found = str(self._folder() / "plotly.min.js")
        return [found] if find_all else found

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterable[tuple[str, Storage]]:
        storage = FileSystemStorage(location=str(self._folder()))
        storage.prefix = "plotly"  # type: ignore[attr-defined]
        yield "plotly.min.js", storage
