"""A lock of the platform on a cluster: the Lease `mcctl`, renewed while it is held.

Whoever died holding it is told by its silence: a Lease that nobody renews for `DURATION_S`, as this
program's own clock counts, is taken over. Clocks of two machines are never compared.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from mc_ops.environments.interface import Say
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import LEASE
from mc_ops.environments.kubernetes.record import who
from mc_ops.errors import CouldNotTell, OpsError

DURATION_S = 20
PATIENCE_S = 120.0
_RENEW_S = 5.0
_POLL_S = 0.5


class Lease:
    """The platform's lock, held; `require` before each change."""

    def __init__(self, client: Client, holder: str) -> None:
        """Hold it for `holder`, who has just taken it."""
        self._client = client
        self._holder = holder
        self._renewed = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_on, name="lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """See that it is still held.

        Raises:
            CouldNotTell: it could not be renewed in time, so that another may hold it.
        """
        if time.monotonic() - self._renewed > DURATION_S - _RENEW_S:
            raise CouldNotTell(
                f"the Lease {LEASE} could not be renewed for {DURATION_S - _RENEW_S:g} s: "
                "another mcctl may change this platform now",
                hint="is the Kubernetes API slow? look at what was done (mcctl status), and repeat",
            )

    def release(self) -> None:
        """Let the next one have it at once."""
        self._ended.set()
        self._thread.join()
        with suppress(OpsError):  # it expires
            self._change({"holderIdentity": "", "leaseDurationSeconds": 1})

    def _renew_on(self) -> None:
        while not self._ended.wait(_RENEW_S):
            before = time.monotonic()
            with suppress(OpsError):
                self._change({"renewTime": _now()})
                self._renewed = before

    def _change(self, spec: Object) -> None:
        """Change the spec if this is still the holder."""
        test = {"op": "test", "path": "/spec/holderIdentity", "value": self._holder}
        changes = [{"op": "replace", "path": f"/spec/{key}", "value": spec[key]} for key in spec]
        self._client.patch("leases", LEASE, [test, *changes])


@contextmanager
def held(client: Client, say: Say, *, patience_s: float = PATIENCE_S) -> Iterator[Lease]:
    """Hold the platform's lock.

    Raises:
        CouldNotTell: another has held it for `patience_s`; the message names the holder.
        NotAllowed: Leases may not be read or written.
    """
    lease = Lease(client, _take(client, say, patience_s))
    try:
        yield lease
    finally:
        lease.release()


def _take(client: Client, say: Say, patience_s: float) -> str:
    holder = f"{who()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    begun = seen_at = time.monotonic()
    seen, told = "", False
    while True:
        found = client.find("leases", LEASE)
        spec = (found or {}).get("spec") or {}
        now = time.monotonic()
        version = str(found["metadata"]["resourceVersion"]) if found else ""
        if version != seen:
            seen, seen_at = version, now
        lasts = float(spec.get("leaseDurationSeconds") or DURATION_S)
        if not spec.get("holderIdentity") or now - seen_at > lasts:
            if _write(client, found, holder):
                return holder
        elif not told:
            say(f"another mcctl ({spec['holderIdentity']}) changes this platform; waiting for it")
            told = True
        if now - begun > patience_s:
            raise CouldNotTell(
                f"another mcctl has been changing this platform for {patience_s:g} s: "
                f"{spec.get('holderIdentity') or 'one after the other'}",
                hint=f"wait for it, or end it; kubectl get lease {LEASE} -o yaml",
            )
        time.sleep(_POLL_S)


def _write(client: Client, found: Object | None, holder: str) -> bool:
    """Take it as it was found; false if somebody was quicker."""
    now = _now()
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": DURATION_S,
        "acquireTime": now,
        "renewTime": now,
    }
    try:
        if found is None:
            client.create("leases", {"metadata": {"name": LEASE}, "spec": spec})
        else:
            version = found["metadata"]["resourceVersion"]
            client.patch("leases", LEASE, {"metadata": {"resourceVersion": version}, "spec": spec})
    except CouldNotTell:  # a conflict; what it was else, the next look tells
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
