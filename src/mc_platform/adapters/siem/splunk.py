"""Splunk's HTTP Event Collector, with indexer acknowledgement.

A 200 from the collector says that events look valid, not that they are indexed. Where the token
acknowledges, the answer has an `ackId`, and a batch counts as taken when `/ack` says true for it;
when that does not come in time the batch is refused and sent again, and Splunk tells the repeats
by `metadata.uid`. Where it does not, nothing is sent: by default acknowledgement is required, and
an operator who accepts less says so (`AUDIT_SIEM_HEC_ACK=off`).

The payload of each event is its OCSF object, so that both formats are searched alike.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from mc_contract.siem import HEC_ACK_PATH, HEC_EVENT_PATH, collector_url
from mc_platform.adapters.siem.http import Answer, SiemHttp, compressed, json_lines, refusal_of
from mc_platform.adapters.siem.meaning import SERVICE
from mc_platform.adapters.siem.ocsf import OcsfEncoder
from mc_platform.deliver import BatchRejected, Rejected, Shipment, SinkRefused, encoded

SOURCE_TYPE = "mc:audit:ocsf"
_MOST_REJECTED = 16  # of one batch; with more, halving the batch is cheaper than asking again
_POLL_FIRST_S, _POLL_MOST_S = 0.05, 1.0
_NO_DATA, _ACK_DISABLED = 5, 14
_MOST_NUMBER = 10_000
_REASONS = {
    1: "the token is disabled",
    2: "a token is required",
    3: "the authorization is not valid",
    4: "the token is not known",
    8: "an internal error",
    9: "the server is busy",
    7: "the token may not write to its index",
    10: "no channel was named",
    11: "the channel is not valid",
    _ACK_DISABLED: "acknowledgement is disabled",
}
_ABOUT_ONE_EVENT = {
    6: "invalid data format",
    12: "no event in it",
    13: "an empty event",
    15: "its indexed fields are not valid",
}
# Any other code, known or not, is about how we are set up or how the collector is.
_ABOUT_CONTENT = (_NO_DATA, *_ABOUT_ONE_EVENT)
_NO_ACK = (
    "HEC does not acknowledge: enable indexer acknowledgement for the token, "
    "or set AUDIT_SIEM_HEC_ACK=off"
)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Whether to wait for the indexers, and how long for one batch."""

    required: bool = True
    wait_s: float = 30.0


class SplunkSiem(SiemHttp):
    """Posts a batch, and waits until it is indexed."""

    def __init__(
        self,
        *,
        url: str,
        key: str,
        version: str,
        acknowledgement: Acknowledgement | None = None,
        ca_file: str | None = None,
    ) -> None:
        super().__init__(
            headers={
                "Authorization": f"Splunk {key}",
                # A channel keeps its ids apart from those of other senders with the same token.
                "X-Splunk-Request-Channel": str(uuid.uuid4()),
                "Content-Type": "application/json",
            },
            ca_file=ca_file,
        )
        self._event_url = collector_url(url, HEC_EVENT_PATH)
        self._ack_url = collector_url(url, HEC_ACK_PATH)
        self._acknowledgement = acknowledgement or Acknowledgement()
        self._offered: bool | None = None
        self._encoder = OcsfEncoder(version=version)

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        await self._require_acknowledgement()
        rejected: list[Rejected] = []
        left = list(batch)
        while left:
            body = await asyncio.to_thread(encoded, self._body, left)
            answer = await self.post(self._event_url, body, headers={"Content-Encoding": "gzip"})
            if answer.ok:
                await self._indexed(answer)
                break
            # What stands before the bad one may be indexed by now: it is sent again all the
            # same, for nobody has acknowledged it.
            rejected.append(_bad_one(answer, left))
            if len(rejected) > _MOST_REJECTED:
                raise BatchRejected(f"HEC refused more than {_MOST_REJECTED} events of a batch")
        return rejected

    async def _require_acknowledgement(self) -> None:
        """Ask once, before anything is sent: each try without it would index the batch again."""
        if not self._acknowledgement.required or self._offered:
            return
        answer = await self.post(self._ack_url, b'{"acks":[0]}')
        if answer.json().get("code") == _ACK_DISABLED:
            raise SinkRefused(_NO_ACK)
        if not answer.ok:
            raise _refused(answer)
        self._offered = True

    async def _indexed(self, taken: Answer) -> None:
        if _number(taken, "code") != 0:  # a login page, or another service, answers 200 as well
            raise _refused(taken)
        ack_id = taken.json().get("ackId")
        if not isinstance(ack_id, int):
            if self._acknowledgement.required:
                self._offered = None
                raise SinkRefused(_NO_ACK)
            return
        deadline = time.monotonic() + self._acknowledgement.wait_s
        pause_s = _POLL_FIRST_S
        ask = msgspec.json.encode({"acks": [ack_id]})
        while True:
            answer = await self.post(self._ack_url, ask)
            if not answer.ok:
                raise _refused(answer)
            acks = answer.json().get("acks")
            if isinstance(acks, dict) and acks.get(str(ack_id)) is True:
                return
            if time.monotonic() + pause_s > deadline:
                raise SinkRefused(
                    f"HEC did not acknowledge within {self._acknowledgement.wait_s:g} s"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(_POLL_MOST_S, pause_s * 2)

    def _body(self, batch: Sequence[Shipment]) -> bytes:
        return compressed(json_lines(map(self._envelope, batch)))

    def _envelope(self, shipment: Shipment) -> dict[str, Any]:
        event = self._encoder.event(shipment)
        return {
            "time": event.time / 1000,
            "host": shipment.leaf["region"],
            "source": SERVICE,
            "sourcetype": SOURCE_TYPE,
            "event": event,
        }


def _bad_one(answer: Answer, left: list[Shipment]) -> Rejected:
    """Take the event that the collector names out of `left`.

    Raises:
        SinkRefused, BatchRejected: the answer names none.
    """
    code, number = _number(answer, "code"), _number(answer, "invalid-event-number")
    if answer.status == HTTPStatus.BAD_REQUEST and code is not None:
        about = _ABOUT_ONE_EVENT.get(code)
        if about and number is not None and number < len(left):
            return Rejected(left.pop(number).index, f"HEC code {code}: {about}")
    raise _refused(answer)


def _refused(answer: Answer) -> SinkRefused:
    code = _number(answer, "code")
    if code is None:
        if answer.ok:
            return SinkRefused(f"HTTP {answer.status} without a code: this is no HEC")
        return refusal_of(answer, "HEC HTTP")
    reason = f"HEC code {code}: {_REASONS.get(code, f'HTTP {answer.status}')}"
    if code in _ABOUT_CONTENT and isinstance(refusal_of(answer), BatchRejected):
        return BatchRejected(reason)
    return SinkRefused(reason, retry_after_s=answer.retry_after_s)


def _number(answer: Answer, name: str) -> int | None:
    value = answer.json().get(name)
    return value if type(value) is int and 0 <= value < _MOST_NUMBER else None
