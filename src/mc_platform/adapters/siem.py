"""Sinks: the SIEM over HTTP in OCSF, and the backup file.

OCSF 1.8, class API Activity (6003). The event's stable id is `metadata.uid`, by which a SIEM
dedupes; the leaf's place in the region's log is `metadata.sequence`. What the log commits to is
carried whole in `unmapped`, so that nothing is lost in the mapping.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from mc_platform.deliver import Shipment, SinkRefused

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_ACTIVITY_OTHER = 99
_CLASS_API_ACTIVITY = 6003
_CATEGORY_APPLICATION = 6
_SUCCESS, _FAILURE = 1, 2
_REFUSALS = ("request.refused", "reply.withheld")
_FAILURES = (*_REFUSALS, "request.failed", "step.failed", "compensation.failed", "operation.stuck")
_GREATEST_RETRY_AFTER_S = 300.0


def ocsf(shipment: Shipment, *, version: str) -> dict[str, Any]:
    """One recorded event as an OCSF API Activity object."""
    leaf = shipment.leaf
    detail = leaf["detail"]
    failed = leaf["kind"] in _FAILURES
    return {
        "class_uid": _CLASS_API_ACTIVITY,
        "category_uid": _CATEGORY_APPLICATION,
        "activity_id": _ACTIVITY_OTHER,
        "activity_name": leaf["kind"],
        "type_uid": _CLASS_API_ACTIVITY * 100 + _ACTIVITY_OTHER,
        "time": int(datetime.fromisoformat(leaf["occurred_at"]).timestamp() * 1000),
        "severity_id": 3 if failed else 1,
        "status_id": _FAILURE if failed else _SUCCESS,
        "metadata": {
            "version": "1.8.0",
            "uid": leaf["id"],
            "sequence": shipment.index,
            "tenant_uid": leaf["tenant"],
            "product": {
                "name": "agent-workbench",
                "vendor_name": "MC Platform",
                "version": version,
            },
        },
        "actor": {"user": {"uid": str(detail.get("principal", "")) or leaf["tenant"]}},
        "api": {
            "operation": str(detail.get("operation") or leaf["kind"]),
            "service": {"name": str(detail.get("agent") or "agent-workbench")},
        },
        "src_endpoint": {"name": leaf["tenant"]},
        "cloud": {"provider": "self-hosted", "region": leaf["region"]},
        "unmapped": leaf,
    }


class HttpSiem:
    """Posts JSON lines, gzipped, with a bearer key; a 2xx is what counts as taken."""

    name = "siem"

    def __init__(self, *, url: str, key: str, version: str) -> None:
        self._url = url
        self._version = version
        self._session = aiohttp.ClientSession(
            headers={
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/x-ndjson",
                "Content-Encoding": "gzip",
            },
            timeout=_TIMEOUT,
        )

    async def take(self, batch: Sequence[Shipment]) -> None:
        """See `deliver.Sink`."""
        lines = b"".join(
            msgspec.json.encode(ocsf(item, version=self._version)) + b"\n" for item in batch
        )
        # Apart from the loop: requests are answered meanwhile.
        body = await asyncio.to_thread(gzip.compress, lines, compresslevel=1)
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                if 200 <= response.status < 300:
                    return
                raise SinkRefused(
                    f"HTTP {response.status}", retry_after_s=_retry_after(response.headers)
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SinkRefused(type(error).__name__) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()


class BackupFile:
    """JSON lines of the leaves, fsynced, readable by the owner only."""

    name = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def take(self, batch: Sequence[Shipment]) -> None:
        """See `deliver.Sink`."""
        lines = "".join(
            json.dumps({"index": item.index, **item.leaf}, sort_keys=True) + "\n" for item in batch
        )
        try:
            await asyncio.to_thread(self._append, lines.encode())
        except OSError as error:
            raise SinkRefused(f"{type(error).__name__}: {os.strerror(error.errno or 0)}") from error

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _retry_after(headers: Any) -> float | None:
    try:
        return min(_GREATEST_RETRY_AFTER_S, max(0.0, float(headers["Retry-After"])))
    except (KeyError, ValueError):
        return None
