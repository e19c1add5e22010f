"""Countersign for Python applications: which release runs this case, and the receipt of the run.

Standard library only. `Client` keeps the last good answer in memory and on disk, so an application
goes on with the release that was approved while Countersign is away.
"""

from countersign.answers import Answer
from countersign.client import Client
from countersign.contents import Release
from countersign.errors import (
    BadAnswerError,
    ContentError,
    CountersignError,
    NoAnswerError,
    StaleAnswerError,
    SwitchedOffError,
    UnreachableError,
)
from countersign.gate import Gate, GateClient, GateTimeoutError, RefusedError
from countersign.receipts import Counts, Receipts
from countersign.webhooks import BadSignatureError, read_webhook

__all__ = (
    "Answer",
    "BadAnswerError",
    "BadSignatureError",
    "Client",
    "ContentError",
    "CountersignError",
    "Counts",
    "Gate",
    "GateClient",
    "GateTimeoutError",
    "NoAnswerError",
    "Receipts",
    "RefusedError",
    "Release",
    "StaleAnswerError",
    "SwitchedOffError",
    "UnreachableError",
    "read_webhook",
)
__version__ = "0.1.0"
