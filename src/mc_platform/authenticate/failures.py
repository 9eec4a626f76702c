"""Failed authentications: counted, told in the log, and limited for each client address.

Only failures are limited. A valid credential passes however many others of the same address fail,
so nobody is kept out by a neighbour behind the same proxy. What is over the limit gets 429 for 401,
whatever was wrong with it, and is looked up by few at a time, so guessing keeps nobody else waiting
for the database.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from mc_contract.credential import TOKEN_FORM
from mc_platform.authenticate.bearer import Authenticator
from mc_platform.errors import NotAuthenticated, RateLimited
from mc_platform.model.tenant import Principal
from mc_platform.observe import metrics

_MOST_CLIENTS = 10_000
_AT_ONCE = 2
_LOG_EVERY_S = 10.0
_WELL_FORMED = re.compile(rf"(?i:bearer) +{TOKEN_FORM} *")
_STRAYED = (
    "this replica's catalogue has no such tenant: add it and restart, or revoke the credential"
)
_log = structlog.get_logger()


@dataclass(slots=True)
class _Told:
    """When failures of a kind were logged last, and how many there were since."""

    at: float = -math.inf
    since_last: int = 0


class GuardedAuthenticator:
    """An authenticator that bears guessing.

    Args:
        inner: Finds principals.
        per_min: How many failures of a client a minute are answered 401.
        burst: How many of them may come at once.
    """

    def __init__(
        self,
        inner: Authenticator,
        *,
        per_min: float,
        burst: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._per_s = per_min / 60
        self._burst = float(burst)
        self._monotonic = monotonic
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client: failures, at
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._told = {warns: _Told() for warns in (False, True)}
        self.forget = inner.forget

    async def authenticate(
        self, authorization: str | None, client_of: Callable[[], str]
    ) -> Principal:
        """The principal that the header proves.

        Args:
            client_of: Gives the client's address; asked only if the credential is not known already.

        Raises:
            NotAuthenticated: As `Authenticator.authenticate`.
            RateLimited: Likewise, and too many of this client have failed.
            Unavailable: the directory cannot be read.
        """
        known = self._inner.known(authorization)
        if known is not None:
            return known
        client = client_of()
        try:
            if self._allowed(client) >= 1.0:
                return await self._inner.authenticate(authorization)
            async with self._few:
                return await self._inner.authenticate(authorization)
        except NotAuthenticated as error:
            self._count(client, authorization, error.strayed)
            self._charge(client)
            raise

    def _allowed(self, client: str) -> float:
        now = self._monotonic()
        left, at = self._left.get(client, (self._burst, now))
        return min(self._burst, left + (now - at) * self._per_s)

    def _charge(self, client: str) -> None:
        left = self._allowed(client)
        limited = left < 1.0
        self._left[client] = (left if limited else left - 1.0, self._monotonic())
        self._left.move_to_end(client)
        while len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        if limited:
            retry_after_s = math.ceil((1.0 - left) / self._per_s)
            raise RateLimited(
                "too many requests of your address had no valid credential",
                retry_after_s=retry_after_s,
                hint=f"try again in {retry_after_s} s; a valid credential is not limited",
            ) from None

    def _count(self, client: str, authorization: str | None, strayed: Principal | None) -> None:
        reason = "no_tenant" if strayed else _reason(authorization)
        metrics.authentication_failures.labels(reason).inc()
        # A few failures are a client without a credential, or our own pre-flight; many are guesses
        warns = strayed is not None or self._allowed(client) < 1.0
        told = self._told[warns]
        told.since_last += 1
        now = self._monotonic()
        if now - told.at < _LOG_EVERY_S:
            return
        whose = {}
        if strayed:
            whose = {"tenant": strayed.tenant, "key_id": strayed.key_id, "hint": _STRAYED}
        tell = _log.warning if warns else _log.info
        tell(
            "authentication_failed",
            client=client,
            reason=reason,
            since_last=told.since_last,
            **whose,
        )
        told.at, told.since_last = now, 0


def _reason(authorization: str | None) -> str:
    if authorization is None:
        return "missing"
    return "unknown" if _WELL_FORMED.fullmatch(authorization) else "malformed"
