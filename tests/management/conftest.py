"""The commands meet the same live releases as the machines."""

from tests.api.conftest import adopt, promote

__all__ = ("adopt", "promote")
