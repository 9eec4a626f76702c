"""A token bucket a tenant, in this process: N replicas admit N times the rate together.

What is counted is cost: a request takes one token, and large work what it has used of the CPU.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from mc_platform.errors import RateLimited
from mc_platform.model.ids import TenantId


@dataclass(slots=True, kw_only=True)
class RateLimiter:
    """Admits `rate_per_s` requests a second for a tenant on average, `burst` at once."""

    rate_per_s: float
    burst: float
    monotonic: Callable[[], float] = time.monotonic
    _buckets: dict[TenantId, tuple[float, float]] = field(init=False, default_factory=dict)
    """Of each tenant its tokens, and when it had them."""

    def admit(self, tenant: TenantId) -> None:
        """Take one token.

        Raises:
            RateLimited: the bucket is empty; tells when the next token comes.
        """
        tokens, now = self._tokens(tenant)
        if tokens < 1.0:
            self._buckets[tenant] = (tokens, now)
            # Up to the next millisecond: no wait at all would be a lie
            retry_after_s = math.ceil(1000 * (1.0 - tokens) / self.rate_per_s) / 1000
            raise RateLimited(
                f"tenant {tenant} is over {self.rate_per_s:g} requests/s on this replica",
                retry_after_s=retry_after_s,
                hint=f"try again in {retry_after_s} s",
            )
        self._buckets[tenant] = (tokens - 1.0, now)

    def spend(self, tenant: TenantId, cpu_s: float) -> None:
        """Take what costly work has used: a second of CPU is a second's worth of requests.

        It may leave less than nothing: then no request is admitted until that is made up for.
        """
        tokens, now = self._tokens(tenant)
        self._buckets[tenant] = (max(tokens - cpu_s * self.rate_per_s, -self.burst), now)

    def _tokens(self, tenant: TenantId) -> tuple[float, float]:
        now = self.monotonic()
        tokens, at = self._buckets.get(tenant, (self.burst, now))
        return min(self.burst, tokens + (now - at) * self.rate_per_s), now


@dataclass(slots=True, kw_only=True)
class ClientLimiter:
    """The same for each client address, on a path that needs no credential."""

    per_min: float
    burst: float
    most_clients: int = 10_000
    monotonic: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(init=False, default_factory=OrderedDict)

    def admit(self, client: str) -> None:
        """Take one token.

        Raises:
            RateLimited: the client has sent too much.
        """
        now, per_s = self.monotonic(), self.per_min / 60
        tokens, at = self._buckets.get(client, (self.burst, now))
        tokens = min(self.burst, tokens + (now - at) * per_s)
        self._buckets[client] = (max(tokens - 1.0, 0.0) if tokens >= 1.0 else tokens, now)
        self._buckets.move_to_end(client)
        while len(self._buckets) > self.most_clients:
            self._buckets.popitem(last=False)
        if tokens < 1.0:
            retry_after_s = math.ceil((1.0 - tokens) / per_s)
            raise RateLimited(
                f"your address is over {self.per_min:g} requests a minute here",
                retry_after_s=retry_after_s,
                hint=f"try again in {retry_after_s} s",
            )
