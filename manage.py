#!/usr/bin/env python
"""Run a management command of Countersign."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "governance.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        print(f"Countersign: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
