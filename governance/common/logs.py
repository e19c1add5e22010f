"""How the product's logs read."""

from __future__ import annotations

import logging


class OneLine(logging.Filter):
    """A refused request is one line: a traceback is for what nobody foresaw."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            record.exc_info = None
        return True
