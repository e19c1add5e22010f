"""How often one token may ask. Counted in each web process: no cache server stands in the way."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

from django.conf import settings

MOST_TOKENS = 10_000  # remembered per process; unknown secrets must not fill the memory


@dataclass(slots=True)
class Limiter:
    """A token bucket per key: `per_second` on the long run, `burst` at once.

    With several web processes the whole limit is the sum of theirs.
    """

    per_second: float
    burst: float
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def wait(self, key: str) -> int:
        """Take one request; returns 0, or after how many whole seconds to come back."""
        if self.per_second <= 0:
            return 0
        moment = time.monotonic()
        with self._lock:
            left, at = self._buckets.pop(key, (self.burst, moment))
            left = min(self.burst, left + (moment - at) * self.per_second)
            allowed = left >= 1.0
            self._buckets[key] = (left - 1.0 if allowed else left, moment)
            if len(self._buckets) > MOST_TOKENS:
                self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1.0 - left) / self.per_second))


ofrep = Limiter(settings.RATE_LIMIT_OFREP, 2.0 * settings.RATE_LIMIT_OFREP)
receipts = Limiter(settings.RATE_LIMIT_RECEIPTS, 2.0 * settings.RATE_LIMIT_RECEIPTS)
