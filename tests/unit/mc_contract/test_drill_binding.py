"""A drill of two regions names what ran in both: the same release, each with a configuration of its own."""

from __future__ import annotations

import json

import pytest

from mc_contract.evidence.binding import check_binding
from mc_contract.evidence.statement import Claim, Release
from mc_contract.running import FACTS

CLAIM = Claim("drill.figures", {}, "drill.figures", ("drill-clients.jsonl", "drill.json"), {})


SERVING = Claim("serving", {}, "running.serving", ("serving.json",), {})


def ran(group_of_other, serving=None, **other):
    home = {name: f"a-{name}" for name in FACTS} | {"version": "1.0", "commit": None}
    groups = {"target": [home]}
    groups.setdefault(group_of_other, []).append({**home, **other})
    report = {"running": {"at_start": groups, "at_end": groups}}
    artifacts = {"drill-clients.jsonl": b"", "drill.json": json.dumps(report).encode()}
    claims = [(CLAIM, {})]
    if serving:
        looked = {"serving": [{**home, "configuration": serving}]}
        told = {"running": {"at_start": looked, "at_end": looked}}
        artifacts["serving.json"] = json.dumps(told).encode()
        claims.append((SERVING, {}))
    return check_binding(Release("v1.0", None, "1.0"), claims, artifacts).reasons


def test_the_other_region_has_a_configuration_of_its_own():
    assert ran("survivor", instance="b", configuration="b") == []


@pytest.mark.parametrize("name", ["code", "policy_set", "catalogue"])
def test_the_other_region_runs_the_same_release(name):
    [reason] = ran("survivor", instance="b", **{name: "b"})
    assert "is another release" in reason


def test_a_replica_of_the_same_region_has_the_same_configuration():
    assert ran("target", instance="b", configuration="b") != []


@pytest.mark.parametrize(
    ("serving", "agrees"), [("a-configuration", True), ("b", True), ("c", False)]
)
def test_a_drill_of_either_home_is_packed_where_either_region_serves(serving, agrees):
    """By default the first region is asked what serves, whichever was the home."""
    reasons = ran("survivor", serving=serving, instance="b", configuration="b")
    assert (reasons == []) is agrees
