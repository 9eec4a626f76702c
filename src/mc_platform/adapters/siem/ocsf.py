"""OCSF 1.8: the default format, posted as gzipped JSON lines with a bearer key.

Which kind becomes which class, and why, stands in docs/reference/siem.md. The event's stable id is
`metadata.uid`, by which a SIEM dedupes; its place in the region's log is `metadata.sequence`; the
leaf that the log commits to travels whole in `unmapped`, byte for byte, so that nothing is lost in
the mapping. Encoding is on the way of every event of a region: what all events of a kind share is
made once, the leaf is not encoded anew, and all of it runs beside the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mc_platform.adapters.siem.http import SiemHttp, compressed, json_lines, refusal_of
from mc_platform.adapters.siem.meaning import (
    SERVICE,
    SEVERITIES,
    VENDOR,
    Group,
    Outcome,
    meaning_of,
    occurred_ms,
    text_of,
)
from mc_platform.deliver import Prepared, Rejected, Shipment
from mc_platform.model.event import Kind

OCSF_VERSION = "1.8.0"
_API_ACTIVITY, _ENTITY_MANAGEMENT, _DATA_SECURITY_FINDING = 6003, 3004, 2006
_OTHER = 99
_STATUS = {Outcome.unknown: 0, Outcome.success: 1, Outcome.failure: 2}
_FINDING_NEW = 1
_ALLOWED, _DENIED, _MODIFIED = 1, 2, 4
_DISPOSITION = {_ALLOWED: 1, _DENIED: 2, _MODIFIED: 11}  # Allowed, Blocked, Corrected
_IN_TRANSIT, _APPLICATION_LEVEL_DLP = 2, 10
# Entity Management has words for what an operator does (activity_id and its caption).
_ENTITY_ACTIVITY = {
    Kind.autonomy_halted: (12, "Suspend"),
    Kind.autonomy_resumed: (13, "Resume"),
    Kind.operation_resolve_requested: (3, "Update"),
    Kind.operation_resolved: (3, "Update"),
    Kind.operation_still_stuck: (3, "Update"),
}
_ENTITIES = {"policy": "Policy set", "break-glass": "Grant", "pseudonyms": "Pseudonyms"}
# What policy did: of these kinds the profile `security_control` tells it
_CONTROLLED = {
    Kind.request_accepted: (_ALLOWED, "allow"),
    Kind.request_refused: (_DENIED, "deny"),
    Kind.reply_released: (_ALLOWED, "allow"),
    Kind.reply_withheld: (_DENIED, "deny"),
}
_Object = dict[str, Any]


class _Metadata(Struct, gc=False):
    version: str
    product: Raw
    profiles: tuple[str, ...]
    uid: str
    sequence: int
    tenant_uid: str
    event_code: str
    correlation_uid: str | UnsetType = UNSET


class OcsfEvent(Struct):
    """An event in OCSF's words and in the order in which it is written; what is unset is left out.

    A struct is built and written in less than half of the time that nested dicts take.
    """

    class_uid: int
    category_uid: int
    activity_id: int
    activity_name: str
    type_uid: int
    severity_id: int
    status_id: int
    message: str
    time: int
    metadata: _Metadata
    cloud: Raw
    actor: _Object
    unmapped: Raw
    status_detail: str | UnsetType = UNSET
    api: _Object | UnsetType = UNSET
    entity: _Object | UnsetType = UNSET
    finding_info: _Object | UnsetType = UNSET
    data_security: _Object | UnsetType = UNSET
    src_endpoint: Raw | UnsetType = UNSET
    action_id: int | UnsetType = UNSET
    disposition_id: int | UnsetType = UNSET
    policy: Raw | UnsetType = UNSET
    authorizations: Raw | UnsetType = UNSET


@lru_cache(maxsize=256)
def _shared(kind: str) -> tuple[int, int, int, str, int, int, int, str]:
    """The attributes that all events of one kind have in common: the first ones, up to `message`."""
    meaning = meaning_of(kind)
    uid, activity, status = _API_ACTIVITY, (_OTHER, kind), _STATUS[meaning.outcome]
    if meaning.group is Group.administration:
        uid, activity = _ENTITY_MANAGEMENT, _ENTITY_ACTIVITY.get(Kind(kind), activity)
    elif meaning.group is Group.withheld:
        uid, activity, status = _DATA_SECURITY_FINDING, (1, "Create"), _FINDING_NEW
    return (
        uid,
        uid // 1000,
        activity[0],
        activity[1],
        uid * 100 + activity[0],
        SEVERITIES[meaning.severity].ocsf,
        status,
        meaning.text or kind,
    )


class OcsfEncoder:
    """Turns recorded events into OCSF; one for each version of the service."""

    def __init__(self, *, version: str) -> None:
        product = {"name": SERVICE, "vendor_name": VENDOR, "version": version}
        self._product = Raw(msgspec.json.encode(product))
        self._encoder = msgspec.json.Encoder()

    def event(self, shipment: Shipment) -> OcsfEvent:
        """The event, to be encoded as it is or inside an envelope."""
        leaf = shipment.leaf
        kind, detail = leaf["kind"], leaf["detail"]
        about, principal = text_of(detail, "operation_id", "subject"), text_of(detail, "principal")
        control = _CONTROLLED.get(kind)
        event = OcsfEvent(
            *_shared(kind),
            occurred_ms(leaf),
            _Metadata(
                OCSF_VERSION,
                self._product,
                ("cloud", "security_control") if control else ("cloud",),
                leaf["id"],
                shipment.index,
                leaf["tenant"],
                kind,
                about or UNSET,
            ),
            _cloud(leaf["region"]),
            {"user": {"uid": principal}} if principal else {"app_name": SERVICE},
            Raw(shipment.raw),
            text_of(detail, "reason") or UNSET,
        )
        _FILL[event.class_uid](event, leaf, about)
        if control:
            _control(event, kind, detail, *control)
        return event

    def encode(self, shipment: Shipment) -> bytes:
        """One event as JSON."""
        return self._encoder.encode(self.event(shipment))

    def encode_lines(self, batch: Sequence[Shipment]) -> bytes:
        """A batch as JSON lines."""
        return json_lines(map(self.event, batch))


@lru_cache(maxsize=16)
def _cloud(region: str) -> Raw:
    return Raw(msgspec.json.encode({"provider": "self-hosted", "region": region}))


@lru_cache(maxsize=1024)
def _endpoint(tenant: str) -> Raw:
    """The ledger keeps no network addresses: the caller is known by its tenant."""
    return Raw(msgspec.json.encode({"name": tenant}))


def _fill_api(event: OcsfEvent, leaf: _Object, about: str | None) -> None:
    detail = leaf["detail"]
    api: _Object = {
        "operation": text_of(detail, "action", "operation") or leaf["kind"],
        "service": {"name": text_of(detail, "agent") or SERVICE},
    }
    if about:
        api["request"] = {"uid": about}
    event.api = api
    event.src_endpoint = _endpoint(leaf["tenant"])


def _fill_entity(event: OcsfEvent, leaf: _Object, about: str | None) -> None:
    detail = leaf["detail"]
    kind, name, uid = "Operation", text_of(detail, "operation") or "operation", about
    if scope := text_of(detail, "scope"):
        kind, name, uid = "Autonomy", "autonomy", scope
    elif named := _ENTITIES.get(leaf["kind"].partition(".")[0]):
        kind, name, uid = named, named.lower(), text_of(detail, "new", "grant") or about
    event.entity = {
        "type": kind,
        "type_id": _OTHER,
        "name": name,
        **({"uid": uid} if uid else {}),
    }


def _fill_finding(event: OcsfEvent, leaf: _Object, _about: str | None) -> None:
    event.finding_info = {
        "uid": leaf["id"],
        "title": event.message,
        "created_time": event.time,
    }
    event.data_security = {
        "data_lifecycle_state_id": _IN_TRANSIT,
        "detection_system_id": _APPLICATION_LEVEL_DLP,
    }
    if policy := _policy_set(leaf["detail"]):
        event.data_security["policy"] = policy
    event.src_endpoint = _endpoint(leaf["tenant"])


_FILL: dict[int, Callable[[OcsfEvent, _Object, str | None], None]] = {
    _API_ACTIVITY: _fill_api,
    _ENTITY_MANAGEMENT: _fill_entity,
    _DATA_SECURITY_FINDING: _fill_finding,
}


def _control(event: OcsfEvent, kind: str, detail: _Object, action: int, decision: str) -> None:
    """The profile `security_control`: what policy did, and which policies it was."""
    if detail.get("redacted") is True and kind == Kind.reply_released:
        action = _MODIFIED
    event.action_id = action
    event.disposition_id = _DISPOSITION[action]
    event.policy = _policy_set(detail) or UNSET
    event.authorizations = _authorizations(decision, *map(str, detail.get("policies") or ()))


@lru_cache(maxsize=1024)
def _authorizations(decision: str, *policies: str) -> Raw:
    """A set has few policies, and most events of a kind are decided by the same ones."""
    named = [{"decision": decision, "policy": {"uid": policy}} for policy in policies]
    return Raw(msgspec.json.encode(named or [{"decision": decision}]))


def _policy_set(detail: _Object) -> Raw | None:
    digest = text_of(detail, "policy_set")
    return _policy(digest) if digest else None


@lru_cache(maxsize=64)
def _policy(digest: str) -> Raw:
    return Raw(msgspec.json.encode({"uid": digest, "type": "Cedar"}))


class OcsfSiem(SiemHttp):
    """Posts a batch; a 2xx means that all of it is taken."""

    def __init__(self, *, url: str, key: str, version: str, ca_file: str | None = None) -> None:
        super().__init__(
            headers={
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/x-ndjson",
                "Content-Encoding": "gzip",
            },
            ca_file=ca_file,
        )
        self._url = url
        encoder = OcsfEncoder(version=version)
        self._ready = Prepared(lambda batch: compressed(encoder.encode_lines(batch)))

    async def prepare(self, batch: Sequence[Shipment]) -> None:
        """Encode while the batch before it is sent."""
        await self._ready.prepare(batch)

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        answer = await self.post(self._url, await self._ready.body(batch))
        if not answer.ok:
            raise refusal_of(answer)
        return ()
