"""OCSF 1.8: the default format, posted as gzipped JSON lines with a bearer key.

Which kind becomes which class, and why, stands in docs/reference/siem.md. The event's stable id is
`metadata.uid`, by which a SIEM dedupes; its place in the region's log is `metadata.sequence`; the
leaf that the log commits to travels whole in `unmapped`, byte for byte, so that nothing is lost in
the mapping. Encoding is on the way of every event of a region: a line is made once for all events
that differ in ids, times and texts alone, the leaf is not encoded anew, and all of it runs beside the
event loop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from secrets import token_hex
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mc_platform.adapters.siem.http import SiemHttp, compressed, refusal_of
from mc_platform.adapters.siem.meaning import (
    MEANINGS,
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
_CONTROLLED: dict[str, tuple[int, str]] = {
    Kind.request_accepted: (_ALLOWED, "allow"),
    Kind.request_refused: (_DENIED, "deny"),
    Kind.reply_released: (_ALLOWED, "allow"),
    Kind.reply_withheld: (_DENIED, "deny"),
}
_Object = dict[str, Any]
# An administrator's acts are few, and each says other things
_FORMED = frozenset(
    kind for kind, meaning in MEANINGS.items() if meaning.group is not Group.administration
)
# What of a detail makes another form of a line: few values in many events
_FORMING = ("action", "operation", "agent", "policy_set", "redacted")
_MOST_FORMS = 1024  # of some 1,200 bytes
_MARK = token_hex(16)  # no text of an event is like it
_MARKS = re.compile(f'"{_MARK}([0-8])"'.encode())


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
        # `typed`, as 1 and True are equal keys and other text
        self._form = lru_cache(maxsize=_MOST_FORMS, typed=True)(self._make_form)

    def event(self, shipment: Shipment) -> OcsfEvent:
        """The event, to be encoded as it is or inside an envelope."""
        leaf = shipment.leaf
        detail = leaf["detail"]
        return self._event(
            leaf,
            about=text_of(detail, "operation_id", "subject"),
            principal=text_of(detail, "principal"),
            reason=text_of(detail, "reason"),
            time=occurred_ms(leaf),
            index=shipment.index,
            raw=Raw(shipment.raw),
            authorizations=_authorizations_of(leaf["kind"], detail),
        )

    def _event(
        self,
        leaf: _Object,
        *,
        about: str | None,
        principal: str | None,
        reason: str | None,
        time: int,
        index: int,
        raw: Raw,
        authorizations: Raw | None,
    ) -> OcsfEvent:
        kind = leaf["kind"]
        control = _CONTROLLED.get(kind)
        event = OcsfEvent(
            *_shared(kind),
            time,
            _Metadata(
                OCSF_VERSION,
                self._product,
                ("cloud", "security_control") if control else ("cloud",),
                leaf["id"],
                index,
                leaf["tenant"],
                kind,
                about or UNSET,
            ),
            _cloud(leaf["region"]),
            {"user": {"uid": principal}} if principal else {"app_name": SERVICE},
            raw,
            reason or UNSET,
        )
        _FILL[event.class_uid](event, leaf, about)
        if control:
            _control(event, kind, leaf["detail"], control[0])
            event.authorizations = authorizations or UNSET
        return event

    def encode(self, shipment: Shipment) -> bytes:
        """One event as JSON."""
        return self._line(shipment)[:-1]

    def lines(self, batch: Sequence[Shipment]) -> Iterator[bytes]:
        """A batch as JSON lines, each with its end."""
        return map(self._line, batch)

    def _line(self, shipment: Shipment) -> bytes:
        """One event as JSON and a line end, by the form of its like where there is one."""
        leaf = shipment.leaf
        detail, kind = leaf["detail"], leaf["kind"]
        if kind not in _FORMED:
            return self._encoder.encode(self.event(shipment)) + b"\n"
        about = text_of(detail, "operation_id", "subject")
        principal, reason = text_of(detail, "principal"), text_of(detail, "reason")
        try:
            form, places = self._form(
                kind,
                leaf["region"],
                about is not None,
                principal is not None,
                reason is not None,
                *map(detail.get, _FORMING),
            )
        except TypeError:  # a value that cannot be a key, which no event of ours has there
            return self._encoder.encode(self.event(shipment)) + b"\n"
        quoted = self._encoder.encode
        return form % places(
            (
                quoted(leaf["id"]),
                quoted(leaf["tenant"]),
                about and quoted(about),
                principal and quoted(principal),
                reason and quoted(reason),
                b"%d" % occurred_ms(leaf),
                b"%d" % shipment.index,
                shipment.raw,
                _authorizations_of(kind, detail),
            )
        )

    def _make_form(
        self, kind: str, region: str, about: bool, principal: bool, reason: bool, *forming: Any
    ) -> tuple[bytes, Callable[[Sequence[Any]], tuple[Any, ...]]]:
        """The line of all events that differ in `_line`'s nine values alone, and which go where.

        It is the line of an event with marks in their places.
        """
        marks = [f"{_MARK}{place}" for place in range(9)]
        raw = [Raw(msgspec.json.encode(mark)) for mark in marks]
        event = self._event(
            {
                "kind": kind,
                "id": marks[0],
                "tenant": marks[1],
                "region": region,
                "detail": dict(zip(_FORMING, forming, strict=True)),
            },
            about=marks[2] if about else None,
            principal=marks[3] if principal else None,
            reason=marks[4] if reason else None,
            time=raw[5],  # type: ignore[arg-type]  # encoded as it stands
            index=raw[6],  # type: ignore[arg-type]
            raw=raw[7],
            authorizations=raw[8],
        )
        parts = _MARKS.split(self._encoder.encode(event).replace(b"%", b"%%") + b"\n")
        return b"%b".join(parts[::2]), itemgetter(*map(int, parts[1::2]))


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


def _control(event: OcsfEvent, kind: str, detail: _Object, action: int) -> None:
    """The profile `security_control`: what policy did."""
    if detail.get("redacted") is True and kind == Kind.reply_released:
        action = _MODIFIED
    event.action_id = action
    event.disposition_id = _DISPOSITION[action]
    event.policy = _policy_set(detail) or UNSET


def _authorizations_of(kind: str, detail: _Object) -> Raw | None:
    """Which policies decided; None of a kind that tells no decision."""
    control = _CONTROLLED.get(kind)
    return control and _authorizations(control[1], *map(str, detail.get("policies") or ()))


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
        self._ready = Prepared(lambda batch: compressed(encoder.lines(batch)))

    async def prepare(self, batch: Sequence[Shipment]) -> None:
        """Encode while the batch before it is sent."""
        await self._ready.prepare(batch)

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        answer = await self.post(self._url, await self._ready.body(batch))
        if not answer.ok:
            raise refusal_of(answer)
        return ()
