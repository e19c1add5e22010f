"""Which cases a pilot serves: flagd's fractional evaluation, version 2, as the server does it."""

from __future__ import annotations

ALGORITHM = "flagd-v2"
WHOLE = 10_000  # buckets, so a share is in basis points
_MASK = 0xFFFFFFFF


def murmur3_32(data: bytes, seed: int = 0) -> int:
    """Return MurmurHash3 (x86, 32 bits) of `data`, unsigned."""
    h, length = seed & _MASK, len(data)
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & _MASK
        k = (k << 15 | k >> 17) & _MASK
        h ^= k * 0x1B873593 & _MASK
        h = (h << 13 | h >> 19) & _MASK
        h = (h * 5 + 0xE6546B64) & _MASK
    if whole < length:
        k = int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & _MASK
        k = (k << 15 | k >> 17) & _MASK
        h ^= k * 0x1B873593 & _MASK
    h ^= length
    h = (h ^ h >> 16) * 0x85EBCA6B & _MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & _MASK
    return h ^ h >> 16


def bucket(workflow: str, salt: str, targeting_key: str) -> int:
    """Return the bucket of a case, 0 to 9,999."""
    return murmur3_32(f"{workflow}:{salt}:{targeting_key}".encode()) * WHOLE >> 32


def is_pilot(workflow: str, salt: str, targeting_key: str, share: int) -> bool:
    """Whether the pilot serves this case at `share` basis points; never a case without a key."""
    return bool(targeting_key) and bucket(workflow, salt, targeting_key) < share
