"""The OCSF encoder as it was, over nested dicts: the oracle for `test_ocsf.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

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
from mc_platform.deliver import Shipment
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


@lru_cache(maxsize=256)
def _shared(kind: str) -> _Object:
    """The attributes that all events of one kind have in common."""
    meaning = meaning_of(kind)
    uid, activity, status = _API_ACTIVITY, (_OTHER, kind), _STATUS[meaning.outcome]
    if meaning.group is Group.administration:
        uid, activity = _ENTITY_MANAGEMENT, _ENTITY_ACTIVITY.get(Kind(kind), activity)
    elif meaning.group is Group.withheld:
        uid, activity, status = _DATA_SECURITY_FINDING, (1, "Create"), _FINDING_NEW
    return {
        "class_uid": uid,
        "category_uid": uid // 1000,
        "activity_id": activity[0],
        "activity_name": activity[1],
        "type_uid": uid * 100 + activity[0],
        "severity_id": SEVERITIES[meaning.severity].ocsf,
        "status_id": status,
        "message": meaning.text or kind,
    }


class DictEncoder:
    """Turns recorded events into OCSF; one for each version of the service."""

    def __init__(self, *, version: str) -> None:
        product = {"name": SERVICE, "vendor_name": VENDOR, "version": version}
        self._product = msgspec.Raw(msgspec.json.encode(product))
        self._encoder = msgspec.json.Encoder()

    def event(self, shipment: Shipment) -> dict[str, Any]:
        """The event, to be encoded as it is or inside an envelope."""
        leaf = shipment.leaf
        kind, detail = leaf["kind"], leaf["detail"]
        about, principal = text_of(detail, "operation_id", "subject"), text_of(detail, "principal")
        control = _CONTROLLED.get(kind)
        metadata = {
            "version": OCSF_VERSION,
            "product": self._product,
            "profiles": ("cloud", "security_control") if control else ("cloud",),
            "uid": leaf["id"],
            "sequence": shipment.index,
            "tenant_uid": leaf["tenant"],
            "event_code": kind,
        }
        if about:
            metadata["correlation_uid"] = about
        event = {
            **_shared(kind),
            "time": occurred_ms(leaf),
            "metadata": metadata,
            "cloud": {"provider": "self-hosted", "region": leaf["region"]},
            "actor": {"user": {"uid": principal}} if principal else {"app_name": SERVICE},
            "unmapped": msgspec.Raw(shipment.raw),
        }
        if reason := text_of(detail, "reason"):
            event["status_detail"] = reason
        _FILL[event["class_uid"]](event, leaf, about)
        if control:
            _control(event, kind, detail, *control)
        return event

    def encode(self, shipment: Shipment) -> bytes:
        """One event as JSON."""
        return self._encoder.encode(self.event(shipment))

    def encode_lines(self, batch: Sequence[Shipment]) -> bytes:
        """A batch as JSON lines."""
        return self._encoder.encode_lines([self.event(shipment) for shipment in batch])


def _fill_api(event: _Object, leaf: _Object, about: str | None) -> None:
    detail = leaf["detail"]
    event["api"] = {
        "operation": text_of(detail, "action", "operation") or leaf["kind"],
        "service": {"name": text_of(detail, "agent") or SERVICE},
    }
    if about:
        event["api"]["request"] = {"uid": about}
    # The ledger keeps no network addresses: the caller is known by its tenant.
    event["src_endpoint"] = {"name": leaf["tenant"]}


def _fill_entity(event: _Object, leaf: _Object, about: str | None) -> None:
    detail = leaf["detail"]
    kind, name, uid = "Operation", text_of(detail, "operation") or "operation", about
    if scope := text_of(detail, "scope"):
        kind, name, uid = "Autonomy", "autonomy", scope
    elif named := _ENTITIES.get(leaf["kind"].partition(".")[0]):
        kind, name, uid = named, named.lower(), text_of(detail, "new", "grant") or about
    event["entity"] = {
        "type": kind,
        "type_id": _OTHER,
        "name": name,
        **({"uid": uid} if uid else {}),
    }


def _fill_finding(event: _Object, leaf: _Object, _about: str | None) -> None:
    event["finding_info"] = {
        "uid": leaf["id"],
        "title": event["message"],
        "created_time": event["time"],
    }
    event["data_security"] = {
        "data_lifecycle_state_id": _IN_TRANSIT,
        "detection_system_id": _APPLICATION_LEVEL_DLP,
    }
    _name_policy_set(event["data_security"], leaf["detail"])
    event["src_endpoint"] = {"name": leaf["tenant"]}


_FILL: dict[int, Callable[[_Object, _Object, str | None], None]] = {
    _API_ACTIVITY: _fill_api,
    _ENTITY_MANAGEMENT: _fill_entity,
    _DATA_SECURITY_FINDING: _fill_finding,
}


def _control(event: _Object, kind: str, detail: _Object, action: int, decision: str) -> None:
    """The profile `security_control`: what policy did, and which policies it was."""
    if detail.get("redacted") is True and kind == Kind.reply_released:
        action = _MODIFIED
    event["action_id"] = action
    event["disposition_id"] = _DISPOSITION[action]
    _name_policy_set(event, detail)
    event["authorizations"] = _authorizations(decision, *map(str, detail.get("policies") or ()))


@lru_cache(maxsize=1024)
def _authorizations(decision: str, *policies: str) -> msgspec.Raw:
    """A set has few policies, and most events of a kind are decided by the same ones."""
    named = [{"decision": decision, "policy": {"uid": policy}} for policy in policies]
    return msgspec.Raw(msgspec.json.encode(named or [{"decision": decision}]))


def _name_policy_set(about: _Object, detail: _Object) -> None:
    if digest := text_of(detail, "policy_set"):
        about["policy"] = {"uid": digest, "type": "Cedar"}
