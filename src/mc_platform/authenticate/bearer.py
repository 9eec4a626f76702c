"""Bearer credentials: `mc_<key id, 12 hex>_<secret, 43 characters of base64url>`.

The key id finds the row; the secret is compared by its SHA-256, in constant time. The secret has
256 random bits, so a slow hash would protect nothing. Whether a key id exists is not told: an
unknown one is compared with a decoy, a wrong secret is looked up as an unknown key id is, and all
failures look alike.

A credential whose tenant the catalogue does not have (any more) is refused like one that is wrong.

A found credential is kept for `cache_s` seconds, which is how long a revocation can lag, and never
past its own end; a refusal is not kept, so one that was made a moment ago works at once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Collection

from mc_contract.credential import KEY_ID_FORM, SECRET_FORM
from mc_platform.errors import NotAuthenticated
from mc_platform.model.ids import TenantId
from mc_platform.model.tenant import PLATFORM, Principal
from mc_platform.ports import Directory

_TOKEN = re.compile(f"^mc_({KEY_ID_FORM})_({SECRET_FORM})$")
_DECOY = bytes(32)
_MOST_CACHED = 10_000


class Authenticator:
    """Turns the `Authorization` header into a principal.

    Args:
        tenants: Those of the catalogue; the platform's own need not be among them.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        tenants: Collection[TenantId],
        cache_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._tenants = frozenset({*tenants, PLATFORM})
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._cache: dict[str, tuple[float, bytes, Principal]] = {}

    async def authenticate(self, authorization: str | None) -> Principal:
        """The principal that the header proves.

        Raises:
            NotAuthenticated: missing, malformed, unknown, revoked, wrong, or of no tenant of the
                catalogue; not told which.
            Unavailable: the directory cannot be read.
        """
        read = _read(authorization)
        if read is None:
            raise _refused()
        key_id, presented = read
        known = self._kept(key_id, presented)
        if known is not None:
            return known
        # Every refusal has looked the key id up once: how long it took tells nothing of it
        expected, principal = await self._find(key_id)
        if not hmac.compare_digest(presented, expected) or principal is None:
            raise _refused()
        if principal.tenant not in self._tenants:
            raise _refused(strayed=principal)
        return principal

    def known(self, authorization: str | None) -> Principal | None:
        """The principal, if the header proves one that was looked up a moment ago."""
        read = _read(authorization)
        return self._kept(*read) if read else None

    def _kept(self, key_id: str, presented: bytes) -> Principal | None:
        kept = self._cache.get(key_id)
        if kept and kept[0] > self._monotonic() and hmac.compare_digest(presented, kept[1]):
            return kept[2]
        return None

    def forget(self, key_id: str) -> None:
        """Take a credential out of the cache: the next request looks it up."""
        self._cache.pop(key_id, None)

    async def _find(self, key_id: str) -> tuple[bytes, Principal | None]:
        now = self._monotonic()  # before it is read: a slow answer is kept no longer for it
        found = await self._directory.find(key_id)
        if found is None:
            self._cache.pop(key_id, None)
            return _DECOY, None
        if found.principal.tenant not in self._tenants:
            return found.secret_sha256, found.principal
        if len(self._cache) >= _MOST_CACHED:
            self._cache.clear()
        kept_s = self._cache_s
        if found.valid_for_s is not None:  # what ends meanwhile is kept no longer
            kept_s = min(kept_s, found.valid_for_s)
        self._cache[key_id] = (now + kept_s, found.secret_sha256, found.principal)
        return found.secret_sha256, found.principal


def _read(authorization: str | None) -> tuple[str, bytes] | None:
    """The key id, and the hash of the secret; None if it is no bearer token of ours."""
    scheme, _, token = (authorization or "").partition(" ")
    match = _TOKEN.match(token.strip()) if scheme.lower() == "bearer" else None
    if match is None:
        return None
    key_id, secret = match.groups()
    return key_id, hashlib.sha256(secret.encode()).digest()


def _refused(*, strayed: Principal | None = None) -> NotAuthenticated:
    return NotAuthenticated(
        "the credential is missing or not valid",
        hint="send `Authorization: Bearer <token>` with a credential of your tenant",
        strayed=strayed,
    )
