"""OCSF: every kind of event validates against the published schema, with nothing lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from tests.unit.mc_platform.adapters.siem.ocsf_by_dicts import DictEncoder

from mc_contract.canonical import canonical_json
from mc_platform.adapters.siem.meaning import MEANINGS
from mc_platform.adapters.siem.ocsf import OCSF_VERSION, OcsfEncoder
from mc_platform.deliver import Shipment
from mc_platform.model.event import Kind

REQUEST = {
    "subject": "task-1",
    "principal": "agent@tenant-001",
    "agent": "records",
    "operation": None,
    "labels": {"email": 2},
    "decision": "d-1",
    "policies": ["messages.permit", "residency.permit"],
    "policy_set": "c" * 64,
    "reason": "no policy permits it",
}
STEP = {
    "operation_id": "op-1",
    "operation": "fulfil-order",
    "task_id": "op-1",
    "step": 1,
    "action": "reserve-stock",
    "attempts": 2,
    "reason": "HTTP 503",
}
SWITCH = {
    "subject": "s-1",
    "scope": "TENANT_001",
    "reason": "compensations",
    "principal": "operator@platform",
    "source": "operator",
}
BARE = {"subject": "task-1"}  # the least that an event says


def shipment(kind, detail, index=7):
    leaf = {
        "v": 1,
        "region": "local-1",
        "id": "0b7f7a5e-0000-5000-8000-000000000001",
        "kind": kind,
        "tenant": "TENANT_001",
        "occurred_at": "2026-01-02T03:04:05.678901+00:00",
        "detail": detail,
    }
    return Shipment(index, datetime.now(UTC), leaf, canonical_json(leaf))


@cache
def published():
    """The compiled schema as published, and its dictionary of classes by uid."""
    schema = get_ocsf_schema(version=OCSF_VERSION)
    return schema, {entry["uid"]: (name, entry) for name, entry in schema["classes"].items()}


@cache
def validator(class_uid, profiles):
    """JSON Schema of a class with these profiles: required, types, enums, constraints, no others."""
    schema, classes = published()
    made = OcsfJsonSchemaEmbedded(schema).get_class_schema(classes[class_uid][0], list(profiles))
    return Draft202012Validator(made)


def problems(event):
    """What the published schema has against an event."""
    _, classes = published()
    profiles = tuple(event["metadata"]["profiles"])
    _, entry = classes[event["class_uid"]]
    found = [error.message for error in validator(event["class_uid"], profiles).iter_errors(event)]
    found += [f"profile {name}" for name in profiles if name not in entry["profiles"]]
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        found.append("type_uid")
    if event["category_uid"] != entry["category_uid"]:
        found.append("category_uid")
    # "If the event source does not have a fitting activity": a caption of its own goes with 99 only
    caption = entry["attributes"]["activity_id"]["enum"][str(event["activity_id"])]["caption"]
    if event["activity_id"] != 99 and event["activity_name"] != caption:
        found.append("activity_name")
    return found


def encoded(kind, detail):
    return json.loads(OcsfEncoder(version="1.2.3").encode(shipment(kind, detail)))


@pytest.mark.parametrize("detail", [REQUEST, STEP, SWITCH, BARE], ids=lambda d: f"{len(d)}-fields")
@pytest.mark.parametrize("kind", [*(kind.value for kind in Kind), "some.kind-of-tomorrow"])
def test_every_kind_is_valid_ocsf(kind, detail):
    """Each kind, one that is not known yet included, whatever it says of itself."""
    assert problems(encoded(kind, detail)) == []


def test_the_validation_can_fail():
    """What the schema forbids is found: a guard for the test above."""
    good = encoded("request.refused", REQUEST)
    assert problems(good) == []
    for change in (
        lambda e: e.pop("actor"),
        lambda e: e.update(severity_id=77),
        lambda e: e.update(time="yesterday"),
        lambda e: e.update(of_our_own=1),
        lambda e: e.update(actor={}),
        lambda e: e["metadata"].update(profiles=["cloud"]),  # then action_id has no place
        lambda e: e["metadata"].update(profiles=["cloud", "trace", "incident"]),
        lambda e: e["policy"].clear(),
        lambda e: e.update(type_uid=600301),
    ):
        bad = json.loads(json.dumps(good))
        change(bad)
        assert problems(bad), change


def test_every_kind_has_a_meaning():
    """No kind is told as unknown merely because somebody forgot the table."""
    assert {kind.value for kind in Kind} <= set(MEANINGS)


@pytest.mark.parametrize(
    ("kind", "class_uid", "activity", "status_id"),
    [
        ("request.accepted", 6003, "request.accepted", 1),
        ("request.refused", 6003, "request.refused", 2),
        ("reply.withheld", 2006, "Create", 1),
        ("step.intended", 6003, "step.intended", 0),
        ("step.done", 6003, "step.done", 1),
        ("operation.stuck", 6003, "operation.stuck", 2),
        ("autonomy.halted", 3004, "Suspend", 1),
        ("autonomy.resumed", 3004, "Resume", 1),
        ("operation.still-stuck", 3004, "Update", 2),
        ("operation.cancel-requested", 3004, "operation.cancel-requested", 1),
        ("some.kind-of-tomorrow", 6003, "some.kind-of-tomorrow", 0),
    ],
)
def test_each_sort_of_event_has_its_class(kind, class_uid, activity, status_id):
    """Requests and steps are API Activity, a withheld reply is a finding, an operator manages."""
    event = encoded(kind, REQUEST)
    assert (event["class_uid"], event["activity_name"]) == (class_uid, activity)
    assert event["status_id"] == status_id


def test_a_denial_says_so_and_names_its_policies():
    """The security control denied and blocked, by these policies of this set."""
    event = encoded("request.refused", REQUEST)
    assert (event["action_id"], event["disposition_id"]) == (2, 2)
    assert event["policy"]["uid"] == "c" * 64
    assert [a["policy"]["uid"] for a in event["authorizations"]] == REQUEST["policies"]
    assert {a["decision"] for a in event["authorizations"]} == {"deny"}
    redacted = encoded("reply.released", {**REQUEST, "redacted": True})
    assert (redacted["action_id"], redacted["disposition_id"]) == (4, 11)


def test_id_place_time_and_leaf_are_kept():
    """The stable id dedupes, the sequence orders, and the leaf travels byte for byte."""
    sent = shipment("step.done", STEP, index=41)
    line = OcsfEncoder(version="1.2.3").encode(sent)
    event = json.loads(line)
    assert event["metadata"]["uid"] == sent.leaf["id"]
    assert event["metadata"]["sequence"] == 41
    assert event["metadata"]["correlation_uid"] == "op-1"
    assert event["time"] == 1767323045678
    assert sent.raw in line
    assert "user" not in event["actor"]  # nobody asked for this step: the platform did it


@given(
    st.dictionaries(
        st.sampled_from(
            ["principal", "agent", "operation", "action", "reason", "scope", "subject"]
        ),
        st.one_of(st.none(), st.integers(), st.text(max_size=40), st.booleans()),
    ),
    st.sampled_from([kind.value for kind in Kind]),
)
def test_whatever_a_detail_holds_the_event_is_valid(detail, kind):
    """Odd values of known names never make an event that a SIEM would refuse."""
    assert problems(encoded(kind, detail)) == []


_VALUE = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=40),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*(kind.value for kind in Kind), "some.kind-of-tomorrow"]),
            st.fixed_dictionaries(
                {},
                optional={
                    **dict.fromkeys(
                        ("subject", "operation_id", "principal", "agent", "operation", "action",
                         "reason", "scope", "new", "grant", "policy_set"), _VALUE,
                    ),
                    "policies": st.none() | st.lists(_VALUE, max_size=3),
                    "redacted": _VALUE,
                },
            ),
            st.sampled_from(["TENANT_001", 'Österreich "1"\n', ""]),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_bytes_are_those_of_the_encoder_over_dicts(events):
    """The encoder before this one is the oracle, for every kind and whatever a detail holds."""
    batch = []
    for index, (kind, detail, tenant) in enumerate(events):
        leaf = {**shipment(kind, detail).leaf, "tenant": tenant}
        batch.append(Shipment(index, datetime.now(UTC), leaf, msgspec.json.encode(leaf)))
    oracle = DictEncoder(version="1.2.3")
    expected = b"".join(oracle.encode(one) + b"\n" for one in batch)
    encoder = OcsfEncoder(version="1.2.3")
    assert b"".join(encoder.lines(batch)) == expected == oracle.encode_lines(batch)
    assert b"".join(encoder.encode(one) + b"\n" for one in batch) == expected


def test_lines_are_one_event_each():
    """A batch is JSON lines, in order."""
    batch = [shipment("step.done", STEP, index=i) for i in range(3)]
    lines = list(OcsfEncoder(version="1").lines(batch))
    assert [json.loads(line)["metadata"]["sequence"] for line in lines] == [0, 1, 2]
