"""`make bench`: run every measurement, or those named (`make bench ARGS=start`)."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import bench


def main() -> None:
    """Print what each measurement says, as soon as it says it."""
    known = [module.name for module in pkgutil.iter_modules(bench.__path__)]
    names = sys.argv[1:] or [name for name in known if not name.startswith("_")]
    if unknown := sorted(set(names) - set(known)):
        sys.exit(f"No such measurement: {', '.join(unknown)}. There are: {', '.join(known)}")
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}", flush=True)
    for name in names:
        print(f"\n{name}", flush=True)
        for line in importlib.import_module(f"bench.{name}").measure():
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
