"""A pack is about what ran: its parts are of one release, and it is named for that one."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.mc_contract.test_running import replica

from mc_contract.canonical import Json, canonical_json
from mc_contract.evidence import Claim, Release, Report, Statement, TrustedKey, build_pack, key_id
from mc_contract.evidence import verify as verify_pack
from mc_contract.evidence.claims import recompute
from mc_contract.judgement.verdict import rejudge
from mc_contract.redteam import THRESHOLDS, figures

KEY = ec.derive_private_key(0xBEEF, ec.SECP256R1())
TRUSTED = [TrustedKey(key_id(KEY.public_key()), KEY.public_key())]
COMMIT = "ab" * 20
FIRST = replica("green-1", colour="green", version="1.2", commit=COMMIT)
SECOND = replica("green-2", colour="green", version="1.2", commit=COMMIT)
BLUE = replica("blue-1", colour="blue", version="1.1", code="old")


def _record(**groups: list[Any]) -> dict[str, Any]:
    return {"at_start": copy.deepcopy(groups), "at_end": groups}


class Parts:
    """What a pack is made of; a test changes it and then packs it, rightly signed."""

    def __init__(self, slower: float = 1.0) -> None:
        values = np.random.default_rng(7).lognormal(-4, 0.2, 900)
        self.samples = [
            "".join(f"{value:.6f}\n" for value in side).encode()
            for side in (values, values * slower)
        ]
        self.verdict: dict[str, Any] = {
            **rejudge(*self.samples, {"margin": 0.25, "planned_pairs": 900}).as_dict(),
            "release": "v1.2-prod",
            "running": _record(
                baseline=[replica("base", instance=None, code=None)],
                candidate=[dict(FIRST), dict(SECOND)],
            ),
        }
        self.preflight: dict[str, Any] = {
            "checks": [{"name": "a", "status": "pass"}],
            "running": _record(blue=[dict(BLUE)], green=[dict(FIRST), dict(SECOND)]),
        }
        self.rows = [{"id": "a", "family": "f", "kind": "attack", "outcome": "blocked"}]
        told = figures(self.rows)
        self.redteam: dict[str, Any] = {
            "figures": told,
            "met": told["met"],
            "thresholds": THRESHOLDS,
            **{
                name: [{"id": one} for one in told[name]]
                for name in ("missed", "changed", "invalid")
            },
            "running": _record(target=[dict(SECOND)]),
        }
        self.serving: dict[str, Any] = {"running": _record(serving=[dict(FIRST), dict(SECOND)])}
        self.release = Release("v1.2-prod", COMMIT, "1.2")
        self.left_out: set[str] = set()

    def verify(self, **how: Any) -> Report:
        artifacts = {
            "base.lat": self.samples[0],
            "cand.lat": self.samples[1],
            "verdict.json": json.dumps(self.verdict).encode(),
            "preflight.json": canonical_json(self.preflight),
            "redteam-rows.jsonl": b"".join(canonical_json(row) + b"\n" for row in self.rows),
            "redteam.json": canonical_json(self.redteam),
            "serving.json": canonical_json(self.serving),
        }
        claims = {
            "canary.verdict": ("base.lat", "cand.lat", "verdict.json"),
            "preflight.passed": ("preflight.json",),
            "redteam.figures": ("redteam-rows.jsonl", "redteam.json"),
            "running.serving": ("serving.json",),
        }
        made = [
            Claim(fn, _value(fn, sources, artifacts), fn, sources, {})
            for fn, sources in claims.items()
            if fn not in self.left_out
        ]
        from tests.unit.mc_contract.test_evidence_verify import STATEMENT

        said = Statement({}, self.release, STATEMENT.created_at, "local", "r", tuple(made), ())
        return verify_pack(build_pack(said, artifacts, KEY), TRUSTED, **how)


def _value(fn: str, sources: tuple[str, ...], artifacts: dict[str, bytes]) -> Json:
    return recompute(fn, sources, {}, artifacts)


def test_parts_of_one_release_verify_under_its_name() -> None:
    """The baseline and what served before may be older, and tell less of themselves."""
    report = Parts().verify(expect_release="v1.2-prod", expect_commit=COMMIT, require_promote=True)
    assert (report.reasons, report.unbound) == ((), ())
    assert report.ok
    assert Parts().verify(expect_commit=COMMIT[:7].upper()).ok


def test_an_old_run_under_another_releases_name_does_not_verify() -> None:
    """Neither for whoever expects that name, nor for who expects none."""
    parts = Parts()
    parts.release = Release("v2", COMMIT, "2.0")
    for report in (parts.verify(expect_release="v2"), parts.verify()):
        assert not report.ok
        assert report.reasons == (
            "the pack is named for release 'v2', and what ran is 'v1.2-prod'",
        )


def test_without_a_declared_release_the_name_is_the_version_that_ran() -> None:
    """With or without its v, or as the runbook names a release into production."""
    right_names = {"v1.2", "1.2", "v1.2-mc-prod"}
    wrong_names = {"v1.20", "v1.1", "v1.1-mc-prod", "1.2-mc-prod", "v1.2-mc-prod-2", "v1.2-prod"}
    for name in right_names | wrong_names:
        right = name in right_names
        parts = Parts()
        parts.verdict["release"] = None
        parts.release = Release(name, None, "1.2")
        assert parts.verify().ok is right, name


@pytest.mark.parametrize("commit", ["cd" * 20, COMMIT + "-dirty", None, COMMIT[:20]])
def test_another_commit_than_ran_is_refused(commit: str | None) -> None:
    """Expected from outside, or named by the pack; changed files are another commit."""
    parts = Parts()
    for group in ("at_start", "at_end"):
        for one in parts.verdict["running"][group]["candidate"]:
            one["commit"] = commit
    parts.release = Release("v1.2-prod", commit, "1.2")
    report = parts.verify(expect_commit=COMMIT)
    assert not report.ok
    if commit is None:
        assert report.reasons == ()
        assert "did not tell its commit" in report.unbound[0]
    else:
        assert f"what ran is of commit {commit}, expected {COMMIT}" in report.reasons[0]
    parts.release = Release("v1.2-prod", "ef" * 20, "1.2")
    assert "the pack names commit efef" in parts.verify().reasons[0]


def test_a_hold_is_refused_where_promote_is_required() -> None:
    """Else it verifies, as a HOLD, whatever serves."""
    parts = Parts(slower=2.0)
    parts.serving = {"running": _record(serving=[dict(BLUE)])}
    parts.redteam["running"] = _record(target=[dict(BLUE)])
    report = parts.verify()
    assert report.ok, report.reasons + report.unbound
    assert "says HOLD" in parts.verify(require_promote=True).reasons[0]
    parts.left_out = {"canary.verdict"}
    assert "there is none" in parts.verify(require_promote=True).reasons[0]


@pytest.mark.parametrize(
    "change",
    [
        {"code": "other"},
        {"policy_set": "other"},
        {"catalogue": "other"},
        {"configuration": "other"},
    ],
)
@pytest.mark.parametrize("part", ["preflight", "redteam", "serving", "candidate"])
def test_parts_of_different_releases_do_not_verify(part: str, change: dict[str, str]) -> None:
    """Each digest counts, in each part; the reason names part, replica and digest."""
    parts = Parts()
    group = {
        "preflight": parts.preflight["running"],
        "redteam": parts.redteam["running"],
        "serving": parts.serving["running"],
        "candidate": parts.verdict["running"],
    }[part]
    for look in group.values():
        found = look[{"preflight": "green", "redteam": "target"}.get(part, part)]
        found[-1].update(change)
    report = parts.verify()
    assert not report.ok
    [name] = change
    assert any(
        "green-2" in reason and name.replace("_", " ") in reason for reason in report.reasons
    )


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ([FIRST, {**SECOND, "instance": "restarted"}], "green-2 is another process"),
        ([FIRST], "green-2 is gone"),
        ([FIRST, SECOND, replica("green-3")], "green-3 was added"),
        ([BLUE], "blue-1 was added"),
    ],
)
def test_what_was_compared_must_be_what_serves(now: list[Any], told: str) -> None:
    """Process by process, when the pack is made."""
    parts = Parts()
    parts.serving = {"running": _record(serving=[dict(one) for one in now])}
    [reason] = parts.verify().reasons
    assert told in reason


def test_behind_an_address_one_of_those_that_were_compared_must_answer() -> None:
    """Who can ask the address alone sees one of them."""
    parts = Parts()
    parts.serving = {"running": _record(answering=[dict(SECOND)])}
    assert parts.verify().ok
    parts.serving = {"running": _record(answering=[{**SECOND, "instance": "restarted"}])}
    assert "was added" in parts.verify().reasons[0]


def test_what_was_exchanged_meanwhile_is_told() -> None:
    """In a pre-flight by process; of a red-team's target, behind the edge, by release."""
    parts = Parts()
    parts.preflight["running"]["at_end"]["green"][0]["instance"] = "restarted"
    parts.redteam["running"]["at_end"]["target"][0]["instance"] = "another replica"
    [reason] = parts.verify().reasons
    assert (
        "the pre-flight (preflight.json): a replica was replaced during the run: green: green-1"
        in reason
    )


def test_a_red_teams_target_may_get_more_replicas_and_lose_some_but_of_one_release() -> None:
    """An autoscaler is at work behind a Service; whichever of them ran another release is found."""
    third = {**SECOND, "replica": "green-3", "instance": "third"}
    parts = Parts()
    look = parts.redteam["running"]
    look["at_end"]["target"] = [dict(FIRST), dict(SECOND), dict(third)]
    assert parts.verify().ok
    look["at_start"]["target"] = [dict(FIRST), dict(SECOND), {**third, "code": "other"}]
    look["at_end"]["target"] = [dict(FIRST)]
    [reason] = parts.verify().reasons
    assert "code was other" in reason


def test_a_candidate_exchanged_during_the_run_is_no_promote() -> None:
    """A verdict file that says PROMOTE all the same does not follow from its own record."""
    parts = Parts()
    parts.verdict["running"]["at_end"]["candidate"][0]["instance"] = "restarted"
    from mc_contract.evidence.claim_inputs import NotRecomputable

    with pytest.raises(NotRecomputable, match=r"says verdict 'PROMOTE'.*'HOLD'"):
        parts.verify()
    parts.verdict |= {"verdict": "HOLD", "kind": "changed"}
    report = parts.verify()
    assert (
        "a replica was replaced during the run: candidate: green-1 is another process"
        in report.reasons[0]
    )


@pytest.mark.parametrize("part", ["verdict", "preflight", "redteam", "serving"])
def test_a_part_that_recorded_nothing_is_told_as_not_bound(part: str) -> None:
    """An old canary, pre-flight or red-team: no finding, and no pass."""
    parts = Parts()
    document = getattr(parts, part)
    if part == "serving":
        parts.left_out = {"running.serving"}
    else:
        del document["running"]
    report = parts.verify(expect_release="v1.2-prod")
    assert not report.ok
    assert report.reasons == ()
    assert report.unbound
    assert report.as_dict()["ok"] is False


def test_a_candidate_that_did_not_tell_is_not_bound() -> None:
    """Null is told as missing, by name."""
    parts = Parts()
    for look in parts.verdict["running"].values():
        look["candidate"][1]["code"] = None
    report = parts.verify()
    assert not report.ok
    assert any("green-2: code" in line for line in report.unbound)


def test_a_pack_without_anything_measured_is_not_bound() -> None:
    """A journal or a health answer alone shows no release."""
    parts = Parts()
    parts.left_out = {"canary.verdict", "redteam.figures", "running.serving"}
    del parts.preflight["running"]
    report = parts.verify()
    assert (report.ok, report.reasons) == (False, ())


def test_a_record_of_another_form_is_a_reason() -> None:
    """Not taken for one that is missing."""
    parts = Parts()
    parts.preflight["running"] = {"at_start": {}}
    assert "'running' is not an object" in parts.verify().reasons[0]
