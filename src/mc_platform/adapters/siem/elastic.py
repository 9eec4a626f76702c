"""Elasticsearch's bulk API, with documents in the Elastic Common Schema.

Each event is a `create` whose `_id` is the event's stable id: sent twice it stands once, for the
second is answered 409, which counts as taken. Every item has its own answer: one that cannot be
mapped is refused for good and named; as long as one may heal (429, 5xx, no right to write, and a
400 that speaks of the index and not of the document) the whole batch is refused, and what had been
taken meanwhile answers 409 next time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from mc_contract.siem import DEFAULT_INDEX, bulk_url
from mc_platform.adapters.siem.http import Answer, SiemHttp, compressed, json_lines, refusal_of
from mc_platform.adapters.siem.meaning import (
    SERVICE,
    SEVERITIES,
    VENDOR,
    Group,
    meaning_of,
    text_of,
)
from mc_platform.deliver import Rejected, Shipment, SinkRefused, encoded

ECS_VERSION = "8.17.0"
_MOST_ANSWER_BYTES = 4_194_304
_LEAST_STATUS, _MOST_STATUS = 100, 599
_ERROR_TYPE = re.compile(r"[a-z_]{1,64}")  # no more, so that nothing else comes into a log by it
_MOST_READ = 2000  # of an error's text, which may quote all of a document
# An error's text may quote the document: it is read here, and told to nobody.
_ERRORS = ("error.type", "error.reason", "error.caused_by.type", "error.caused_by.reason")
_WANTED = "filter_path=errors,items.*._id,items.*.status," + ",".join(
    f"{place}{name}" for place in ("", "items.*.") for name in _ERRORS
)
# What may be wrong with the document itself, and stays so. Others (a missing index, missing rights)
# are about the set-up: those are refused, and heal.
_BAD_DOCUMENT = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_OF_THE_DOCUMENT = re.compile(r"pars(e|ing)|^strict_dynamic_mapping|^max_bytes_length_exceeded")
_OF_THE_SET_UP = re.compile(
    r"\bind(ex|ices)\b|shard|cluster|alias|data.?stream|pipeline|template|security|auth"
    r"|licen[cs]e|node|block|closed|read.?only|limit|quota|circuit|reject|timeout|unavailable"
)
# Also where a document brings it out: the next one does, too, until the index is set up otherwise.
_LIMIT_OF_THE_INDEX = re.compile(r"limit of [a-z ]{1,60}\[\d{1,12}\]")


class ElasticEncoder:
    """Turns recorded events into bulk actions and ECS documents."""

    def __init__(self, *, version: str) -> None:
        self._version = version

    def document(self, shipment: Shipment) -> dict[str, Any]:
        """One event in ECS; `mc` holds the leaf as the log has it."""
        leaf = shipment.leaf
        detail: dict[str, Any] = leaf["detail"]
        kind: str = leaf["kind"]
        meaning = meaning_of(kind)
        event_kind, category, types = _ECS[meaning.group]
        document: dict[str, Any] = {
            "@timestamp": leaf["occurred_at"],
            "ecs": {"version": ECS_VERSION},
            "message": meaning.text or kind,
            "event": {
                "id": leaf["id"],
                "kind": event_kind,
                "category": [category],
                "type": meaning.ecs_type or types,
                "action": kind,
                "outcome": meaning.outcome,
                "sequence": shipment.index,
                "severity": SEVERITIES[meaning.severity].ocsf,
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

    def lines(self, batch: Sequence[Shipment]) -> Iterator[bytes]:
        """A batch as the lines of a bulk request, two for each event."""
        return json_lines(
            line
            for shipment in batch
            for line in ({"create": {"_id": shipment.leaf["id"]}}, self.document(shipment))
        )


# By group: whether it is an alert, the category, and the type where a kind has none of its own
_ECS: dict[Group, tuple[str, str, tuple[str, ...]]] = {
    Group.activity: ("event", "api", ("info",)),
    Group.refusal: ("alert", "api", ("access", "denied")),
    Group.withheld: ("alert", "api", ("access", "denied")),
    Group.administration: ("event", "configuration", ("change",)),
}


class ElasticSiem(SiemHttp):
    """Posts a batch to `_bulk`, and reads what became of each event."""

    def __init__(
        self,
        *,
        url: str,
        key: str,
        version: str,
        index: str = DEFAULT_INDEX,
        ca_file: str | None = None,
    ) -> None:
        super().__init__(
            headers={
                "Authorization": f"ApiKey {key}",
                "Content-Type": "application/x-ndjson",
                "Content-Encoding": "gzip",
            },
            ca_file=ca_file,
        )
        self._url = bulk_url(url, index, _WANTED)
        self._encoder = ElasticEncoder(version=version)

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        body = await asyncio.to_thread(encoded, self._body, batch)
        answer = await self.post(self._url, body, most_bytes=_MOST_ANSWER_BYTES)
        return await asyncio.to_thread(_outcomes, answer, batch)

    def _body(self, batch: Sequence[Shipment]) -> bytes:
        return compressed(self._encoder.lines(batch))


def _outcomes(answer: Answer, batch: Sequence[Shipment]) -> list[Rejected]:
    """What was refused for good.

    Raises:
        SinkRefused: an item may heal, or the answer does not tell of every event.
        BatchRejected: the content is bad, and it is not known which event's.
    """
    said = answer.json()
    if not answer.ok:
        error = said.get("error")
        if _is_set_up(error):
            reason = f"HTTP {answer.status} {_error_type(error)}".rstrip()
            raise SinkRefused(reason, retry_after_s=answer.retry_after_s)
        raise refusal_of(answer)
    items = said.get("items")
    if not isinstance(items, list) or len(items) != len(batch):
        raise SinkRefused("the bulk answer does not tell of every event")
    rejected = []
    for shipment, item in zip(batch, items, strict=True):
        made = item.get("create") if isinstance(item, dict) else None
        result = made if isinstance(made, dict) else {}
        status, known = result.get("status"), shipment.leaf["id"]
        # No other number is a status; one of any length would carry whatever the sink likes
        if type(status) is not int or not _LEAST_STATUS <= status <= _MOST_STATUS:
            raise SinkRefused("the bulk answer does not tell of every event")
        if result.get("_id", known) != known:
            raise SinkRefused("the bulk answer does not tell of every event")
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES or status == HTTPStatus.CONFLICT:
            continue
        error = result.get("error")
        reason = f"bulk item {status} {_error_type(error)}".rstrip()
        if status not in _BAD_DOCUMENT or _is_set_up(error):
            raise SinkRefused(reason)
        rejected.append(Rejected(shipment.index, reason))
    return rejected


def _is_set_up(error: Any) -> bool:
    """Whether an error speaks of the index or the cluster, and not of the document.

    One that is a text and no object speaks of the request's path or headers.
    """
    if isinstance(error, str):
        return True
    kind, reason = (_text(error, name) for name in ("type", "reason"))
    cause = error.get("caused_by") if isinstance(error, dict) else None
    texts = (reason, _text(cause, "reason"))
    if any(_LIMIT_OF_THE_INDEX.search(text) for text in texts):
        return True
    if _OF_THE_DOCUMENT.search(kind):
        return False
    # In a type words are joined by underscores, which count as letters
    return any(_OF_THE_SET_UP.search(text) for text in (kind.replace("_", " "), *texts))


def _text(error: Any, name: str) -> str:
    value = error.get(name) if isinstance(error, dict) else None
    return value[:_MOST_READ].lower() if isinstance(value, str) else ""


def _error_type(error: Any) -> str:
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) and _ERROR_TYPE.fullmatch(kind) else ""
