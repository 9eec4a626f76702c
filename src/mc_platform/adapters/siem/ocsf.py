"""OCSF 1.8: the default format, posted as gzipped JSON lines with a bearer key.

Which kind becomes which class, and why, stands in docs/reference/siem.md. The event's stable id is
`metadata.uid`, by which a SIEM dedupes; its place in the region's log is `metadata.sequence`; the
leaf that the log commits to travels whole in `unmapped`, byte for byte, so that nothing is lost in
the mapping. Encoding is on the way of every event of a region: structures that do not change are
made once, the leaf is not encoded anew, and all of it runs beside the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from mc_platform.adapters.siem.http import SiemHttp, compressed, refusal_of
from mc_platform.adapters.siem.meaning import (
    SERVICE,
    VENDOR,
    Group,
    Meaning,
    Outcome,
    meaning_of,
    occurred_ms,
    text_of,
)
from mc_platform.deliver import Prepared, Rejected, Shipment
from mc_platform.model.event import Kind

OCSF_VERSION = "1.8.0"
MOST_EVENTS = 1000
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


class _Named(msgspec.Struct, gc=False, omit_defaults=True):
    name: str | None = None
    uid: str | None = None


class _Typed(msgspec.Struct, gc=False, omit_defaults=True):
    type: str
    type_id: int
    name: str | None = None
    uid: str | None = None


class _Policy(msgspec.Struct, gc=False, omit_defaults=True):
    uid: str
    type: str | None = None


class _Authorization(msgspec.Struct, omit_defaults=True):
    decision: str
    policy: _Policy | None = None


class _User(msgspec.Struct, gc=False):
    uid: str


class _Actor(msgspec.Struct, gc=False, omit_defaults=True):
    user: _User | None = None
    app_name: str | None = None


class _Cloud(msgspec.Struct, gc=False):
    provider: str
    region: str


class _Request(msgspec.Struct, gc=False):
    uid: str


class _Api(msgspec.Struct, gc=False, omit_defaults=True):
    operation: str
    service: _Named
    request: _Request | None = None


class _Finding(msgspec.Struct, gc=False):
    uid: str
    title: str
    created_time: int


class _DataSecurity(msgspec.Struct, gc=False, omit_defaults=True):
    data_lifecycle_state_id: int
    detection_system_id: int
    policy: _Policy | None = None


class _Metadata(msgspec.Struct, omit_defaults=True):
    version: str
    product: msgspec.Raw
    profiles: tuple[str, ...]
    uid: str
    sequence: int
    tenant_uid: str
    event_code: str
    correlation_uid: str | None = None
    logged_time: int | None = None


class _Event(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The attributes that the classes share; a class leaves out what it does not have."""

    class_uid: int
    category_uid: int
    activity_id: int
    activity_name: str
    type_uid: int
    time: int
    severity_id: int
    status_id: int
    metadata: _Metadata
    cloud: _Cloud
    actor: _Actor
    message: str | None = None
    status_detail: str | None = None
    action_id: int | None = None
    disposition_id: int | None = None
    policy: _Policy | None = None
    authorizations: tuple[_Authorization, ...] | None = None
    api: _Api | None = None
    src_endpoint: _Named | None = None
    entity: _Typed | None = None
    finding_info: _Finding | None = None
    data_security: _DataSecurity | None = None
    unmapped: msgspec.Raw


class _Class(msgspec.Struct, frozen=True):
    """What all events of one kind have in common."""

    uid: int
    activity_id: int
    activity_name: str
    status_id: int
    meaning: Meaning
    controlled: bool


_PLATFORM = _Actor(app_name=SERVICE)
_SERVICE = _Named(name=SERVICE)
_CONTROLLED = (
    Kind.request_accepted,
    Kind.request_refused,
    Kind.reply_released,
    Kind.reply_withheld,
)
_PROFILES = {False: ("cloud",), True: ("cloud", "security_control")}


@lru_cache(maxsize=256)
def _class_of(kind: str) -> _Class:
    meaning = meaning_of(kind)
    status = _STATUS[meaning.outcome]
    controlled = kind in _CONTROLLED
    if meaning.group is Group.administration:
        activity = _ENTITY_ACTIVITY.get(Kind(kind), (_OTHER, kind))
        return _Class(_ENTITY_MANAGEMENT, *activity, status, meaning, controlled)
    if meaning.group is Group.withheld:
        return _Class(_DATA_SECURITY_FINDING, 1, "Create", _FINDING_NEW, meaning, controlled)
    return _Class(_API_ACTIVITY, _OTHER, kind, status, meaning, controlled)


@lru_cache(maxsize=1024)
def _endpoint(name: str) -> _Named:
    return _Named(name=name)


@lru_cache(maxsize=64)
def _cloud(region: str) -> _Cloud:
    return _Cloud("self-hosted", region)


class OcsfEncoder:
    """Turns recorded events into OCSF; one for each version of the service."""

    def __init__(self, *, version: str) -> None:
        product = {"name": SERVICE, "vendor_name": VENDOR, "version": version}
        self._product = msgspec.Raw(msgspec.json.encode(product))
        self._encoder = msgspec.json.Encoder()

    def event(self, shipment: Shipment) -> _Event:
        """The event, to be encoded as it is or inside an envelope."""
        leaf = shipment.leaf
        detail: dict[str, Any] = leaf["detail"]
        kind: str = leaf["kind"]
        of = _class_of(kind)
        principal = text_of(detail, "principal")
        event = _Event(
            class_uid=of.uid,
            category_uid=of.uid // 1000,
            activity_id=of.activity_id,
            activity_name=of.activity_name,
            type_uid=of.uid * 100 + of.activity_id,
            time=occurred_ms(leaf),
            severity_id=of.meaning.severity.value,
            status_id=of.status_id,
            metadata=_Metadata(
                OCSF_VERSION,
                self._product,
                _PROFILES[of.controlled],
                leaf["id"],
                shipment.index,
                leaf["tenant"],
                kind,
                text_of(detail, "operation_id", "subject"),
            ),
            cloud=_cloud(leaf["region"]),
            actor=_Actor(_User(principal)) if principal else _PLATFORM,
            message=of.meaning.text or kind,
            status_detail=text_of(detail, "reason"),
            unmapped=msgspec.Raw(shipment.raw),
        )
        _FILL[of.uid](event, leaf)
        if of.controlled:
            _control(event, kind, detail)
        return event

    def encode(self, shipment: Shipment) -> bytes:
        """One event as JSON."""
        return self._encoder.encode(self.event(shipment))

    def encode_lines(self, batch: Sequence[Shipment]) -> bytes:
        """A batch as JSON lines."""
        return self._encoder.encode_lines([self.event(shipment) for shipment in batch])


def _fill_api(event: _Event, leaf: dict[str, Any]) -> None:
    detail = leaf["detail"]
    agent, about = text_of(detail, "agent"), event.metadata.correlation_uid
    event.api = _Api(
        text_of(detail, "action", "operation") or leaf["kind"],
        _endpoint(agent) if agent else _SERVICE,
        _Request(about) if about else None,
    )
    # The ledger keeps no network addresses: the caller is known by its tenant.
    event.src_endpoint = _endpoint(leaf["tenant"])


_ENTITIES = {"policy": "Policy set", "break-glass": "Grant", "pseudonyms": "Pseudonyms"}


def _fill_entity(event: _Event, leaf: dict[str, Any]) -> None:
    detail = leaf["detail"]
    scope = text_of(detail, "scope")
    if scope is not None:
        event.entity = _Typed("Autonomy", _OTHER, "autonomy", scope)
        return
    named = _ENTITIES.get(leaf["kind"].partition(".")[0])
    if named is not None:
        uid = text_of(detail, "new", "grant") or event.metadata.correlation_uid
        event.entity = _Typed(named, _OTHER, named.lower(), uid)
        return
    name = text_of(detail, "operation") or "operation"
    event.entity = _Typed("Operation", _OTHER, name, event.metadata.correlation_uid)


def _fill_finding(event: _Event, leaf: dict[str, Any]) -> None:
    event.finding_info = _Finding(leaf["id"], event.message or leaf["kind"], event.time)
    event.data_security = _DataSecurity(
        _IN_TRANSIT, _APPLICATION_LEVEL_DLP, _policy_set(leaf["detail"])
    )
    event.src_endpoint = _endpoint(leaf["tenant"])


_FILL: dict[int, Callable[[_Event, dict[str, Any]], None]] = {
    _API_ACTIVITY: _fill_api,
    _ENTITY_MANAGEMENT: _fill_entity,
    _DATA_SECURITY_FINDING: _fill_finding,
}


def _control(event: _Event, kind: str, detail: dict[str, Any]) -> None:
    """The profile `security_control`: what policy did, and which policies it was."""
    if kind in (Kind.request_refused, Kind.reply_withheld):
        action, decision = _DENIED, "deny"
    else:
        modified = kind == Kind.reply_released and detail.get("redacted") is True
        action, decision = _MODIFIED if modified else _ALLOWED, "allow"
    event.action_id = action
    event.disposition_id = _DISPOSITION[action]
    event.policy = _policy_set(detail)
    policies = detail.get("policies") or ()
    event.authorizations = tuple(
        _Authorization(decision, _Policy(str(policy))) for policy in policies
    ) or (_Authorization(decision),)


def _policy_set(detail: dict[str, Any]) -> _Policy | None:
    digest = text_of(detail, "policy_set")
    return None if digest is None else _Policy(digest, "Cedar")


class OcsfSiem:
    """Posts a batch; a 2xx means that all of it is taken."""

    name = "siem"
    most = MOST_EVENTS

    def __init__(self, *, url: str, key: str, version: str, ca_file: str | None = None) -> None:
        self._encoder = OcsfEncoder(version=version)
        self._url = url
        self._http = SiemHttp(
            headers={
                "Authorization": f"Bearer {key}",
                "Content-Type": "application/x-ndjson",
                "Content-Encoding": "gzip",
            },
            ca_file=ca_file,
        )
        self._ready = Prepared(self._body)

    async def prepare(self, batch: Sequence[Shipment]) -> None:
        """See `deliver.Preparing`: encode while the batch before it is sent."""
        await self._ready.prepare(batch)

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        """See `deliver.Sink`."""
        body = await self._ready.body(batch)
        answer = await self._http.post(self._url, body)
        if not answer.ok:
            raise refusal_of(answer)
        return ()

    def _body(self, batch: Sequence[Shipment]) -> bytes:
        return compressed(self._encoder.encode_lines(batch))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
