"""Which cases a pilot serves: flagd's fractional evaluation, version 2. Pure."""

from __future__ import annotations

import mmh3

ALGORITHM = "flagd-v2"
WHOLE = 10_000  # buckets, so a share is in basis points


def bucket(workflow: str, salt: str, targeting_key: str) -> int:
    """Return the bucket of a case, 0 to 9,999.

    murmur3 (32 bits, unsigned) of "{workflow}:{salt}:{targetingKey}", scaled without a remainder:
    the hash times 10,000, shifted right by 32 bits.
    """
    hashed = mmh3.hash(f"{workflow}:{salt}:{targeting_key}", 0, signed=False)
    return (hashed * WHOLE) >> 32


def is_pilot(workflow: str, salt: str, targeting_key: str, share: int) -> bool:
    """Whether the pilot serves this case at `share` basis points.

    A case without a key is never in a pilot. Widening only adds: a bucket below a share is below
    every larger share.
    """
    return bool(targeting_key) and bucket(workflow, salt, targeting_key) < share
