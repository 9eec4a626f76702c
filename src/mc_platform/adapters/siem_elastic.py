"""Elasticsearch's bulk API, with documents in the Elastic Common Schema.

Each event is a `create` whose `_id` is the event's stable id: sent twice it stands once, for the
second is answered 409, which counts as taken. Every item has its own answer: one that cannot be
mapped is refused for good and named; as long as one may heal (429, 5xx, no right to write) the
whole batch is refused, and what had been taken meanwhile answers 409 next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from mc_contract.siem import DEFAULT_INDEX, bulk_url
from mc_platform.adapters.siem_http import SiemHttp, compressed, refusal_of
from mc_platform.adapters.siem_meaning import (
    SERVICE,
    VENDOR,
    Group,
    Meaning,
    Outcome,
    meaning_of,
    text_of,
)
from mc_platform.deliver import Rejected, Shipment, SinkRefused, encoded
from mc_platform.model.event import Kind

ECS_VERSION = "8.17.0"
MOST_EVENTS = 1000
_MOST_TYPE_LETTERS = 64
# Of each item its status and the kind of its error: the text of an error may quote the document.
_WANTED = "filter_path=errors,items.*.status,items.*.error.type"
# What is wrong with the document itself, and stays so. Others (a missing index, missing rights)
# are about the set-up: those are refused, and heal.
_BAD_DOCUMENT = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class ElasticEncoder:
    """Turns recorded events into bulk actions and ECS documents."""

    def __init__(self, *, version: str) -> None:
        self._version = version
        self._encoder = msgspec.json.Encoder()

    def document(self, shipment: Shipment) -> dict[str, Any]:
        """One event in ECS; `mc` holds the leaf as the log has it."""
        leaf = shipment.leaf
        detail: dict[str, Any] = leaf["detail"]
        kind: str = leaf["kind"]
        meaning = meaning_of(kind)
        document: dict[str, Any] = {
            "@timestamp": leaf["occurred_at"],
            "ecs": {"version": ECS_VERSION},
            "message": meaning.text or kind,
            "event": {
                "id": leaf["id"],
                "kind": "alert" if _refused(meaning) else "event",
                "category": _CATEGORY[meaning.group],
                "type": _type(kind, meaning),
                "action": kind,
                "outcome": meaning.outcome.value,
                "sequence": shipment.index,
                "severity": meaning.severity.value,
                "module": "mc_platform",
                "dataset": "mc_platform.audit",
                "provider": SERVICE,
            },
            "organization": {"id": leaf["tenant"]},
            "cloud": {"region": leaf["region"]},
            "service": {"name": SERVICE, "version": self._version},
            "observer": {"vendor": VENDOR, "product": SERVICE},
            "mc": msgspec.Raw(shipment.raw),
        }
        if principal := text_of(detail, "principal"):
            document["user"] = {"id": principal}
        if reason := text_of(detail, "reason"):
            document["event"]["reason"] = reason
        if about := text_of(detail, "operation_id", "subject"):
            document["trace"] = {"id": about}
        return document

    def encode(self, batch: Sequence[Shipment]) -> bytes:
        """A batch as the lines of a bulk request."""
        lines: list[dict[str, Any]] = []
        for shipment in batch:
            lines.append({"create": {"_id": shipment.leaf["id"]}})
            lines.append(self.document(shipment))
        return self._encoder.encode_lines(lines)


_CATEGORY = {
    Group.activity: ["api"],
    Group.refusal: ["api"],
    Group.withheld: ["api"],
    Group.administration: ["configuration"],
}


def _refused(meaning: Meaning) -> bool:
    return meaning.group in (Group.refusal, Group.withheld)


def _type(kind: str, meaning: Meaning) -> list[str]:
    if meaning.group is Group.administration:
        return ["change"]
    if _refused(meaning):
        return ["access", "denied"]
    if kind in (Kind.request_accepted, Kind.reply_released):
        return ["access", "allowed"]
    if kind == Kind.operation_started:
        return ["start"]
    if kind in (Kind.operation_completed, Kind.operation_compensated, Kind.operation_stuck):
        return ["end"]
    if meaning.outcome is Outcome.success and kind in (Kind.step_done, Kind.compensation_done):
        return ["change"]
    return ["info"]


class ElasticSiem:
    """Posts a batch to `_bulk`, and reads what became of each event."""

    name = "siem"
    most = MOST_EVENTS

    def __init__(
        self,
        *,
        url: str,
        key: str,
        version: str,
        index: str = DEFAULT_INDEX,
        ca_file: str | None = None,
    ) -> None:
        self._url = bulk_url(url, index, _WANTED)
        self._encoder = ElasticEncoder(version=version)
        self._http = SiemHttp(
            headers={
                "Authorization": f"ApiKey {key}",
                "Content-Type": "application/x-ndjson",
                "Content-Encoding": "gzip",
            },
            ca_file=ca_file,
        )

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        """See `deliver.Sink`."""
        body = await asyncio.to_thread(encoded, self._body, batch)
        answer = await self._http.post(self._url, body)
        if not answer.ok:
            raise refusal_of(answer)
        return _outcomes(answer.json(), batch)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _body(self, batch: Sequence[Shipment]) -> bytes:
        return compressed(self._encoder.encode(batch))


def _outcomes(said: dict[str, Any], batch: Sequence[Shipment]) -> list[Rejected]:
    """What was refused for good.

    Raises:
        SinkRefused: an item may heal, or the answer does not tell of every item.
    """
    items = said.get("items")
    if not isinstance(items, list) or len(items) != len(batch):
        raise SinkRefused("the bulk answer does not tell of every event")
    rejected = []
    for shipment, item in zip(batch, items, strict=True):
        result = item.get("create") if isinstance(item, dict) else None
        status = result.get("status") if isinstance(result, dict) else None
        if not isinstance(status, int):
            raise SinkRefused("the bulk answer does not tell of every event")
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES or status == HTTPStatus.CONFLICT:
            continue
        reason = f"bulk item {status} {_error_type(result)}".rstrip()
        if status not in _BAD_DOCUMENT:
            raise SinkRefused(reason)
        rejected.append(Rejected(shipment.index, reason))
    return rejected


def _error_type(result: Any) -> str:
    error = result.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    if not isinstance(kind, str) or not kind.replace("_", "").isalnum():
        return ""
    return kind[:_MOST_TYPE_LETTERS]
