"""The tamper-evident audit chain: `audit.atomic()`, `audit.record()`, verification."""

from governance.audit.chain import atomic, record
from governance.audit.models import Actor

__all__ = ("Actor", "atomic", "record")
