"""Credentials of a running platform: made, rotated, revoked, edited in the file; tenants that come."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx

CATALOGUE = Path(__file__).parents[2] / "deploy" / "local" / "catalogue.toml"
ORDER = "Where is order O-2001?"


def status(platform, token, port=None):
    """What a replica, or the edge, answers a message with this token."""
    answer = httpx.post(
        f"http://127.0.0.1:{port or platform.port}/graphql",
        json={"query": "{ __typename }"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )
    return answer.status_code


def events(platform, kind):
    return [
        one["unmapped"]["detail"]
        for one in platform.siem_events()
        if one["unmapped"]["kind"] == kind
    ]


def test_a_credential_lives_and_ends(start_platform, tmp_path, wait_until):
    """Made with its scopes, refused outside of them, rotated, revoked on every replica."""
    platform = start_platform("--replicas", "2")
    ports = [platform.record(name)["port"] for name in ("blue-1", "blue-2")]
    place = tmp_path / "token"
    make = ("credential", "create", "--tenant", "TENANT_001", "--reason", "a partner", "--yes")
    platform.mcctl(*make, "--out", str(place))
    token = place.read_text().strip()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    asked = platform.ask(ORDER)
    assert asked.status == 200
    assert platform.post(b"{}", token=token).status == 200, "it has a2a"
    assert [status(platform, token, port) for port in ports] == [403, 403], "it has no records"
    listed = platform.mcctl("credential", "list", "--tenant", "TENANT_001", "--output", "json")
    secret = token.split("_", 2)[2]
    assert secret not in listed.stdout
    key = token.split("_", 2)[1]
    assert key in listed.stdout
    again = platform.mcctl(*make, "--out", str(place), check=False)
    assert again.returncode == 2, "a file that is there is not written over"

    platform.mcctl("credential", "revoke", key, "--reason", "the partner left", "--yes")
    wait_until(
        lambda: [status(platform, token, port) for port in ports] == [401, 401],
        what="both replicas refuse it",
    )
    wait_until(lambda: events(platform, "credential.revoked"), what="the SIEM has it")
    [made] = [one for one in events(platform, "credential.created") if one["credential"] == key]
    [ended] = events(platform, "credential.revoked")
    assert (made["principal"], made["reason"]) == ("administrator@platform", "a partner")
    assert (ended["credential"], ended["reason"]) == (key, "the partner left")
    everything = json.dumps(platform.siem_events()) + "".join(platform.log("blue-1"))
    assert secret not in everything

    old = platform.token("TENANT_002")
    rotated = platform.mcctl(
        "credential", "rotate", old.split("_", 2)[1], "--reason", "yearly", "--yes",
        "--overlap", "1h", "--output", "json",
    )  # fmt: skip
    new = json.loads(rotated.stdout)["token"]
    assert platform.token("TENANT_002") == new, "this machine's file is kept in step"
    assert [status(platform, one) for one in (old, new)] == [200, 200]

    refused = platform.mcctl(*make, "--as", "OPERATOR", check=False)
    assert refused.returncode == 4
    assert platform.mcctl("tenant", "check").returncode == 0


def test_up_applies_an_edited_file(start_platform, tmp_path, wait_until):
    """A token taken out is refused, one put in is taken, a new tenant gets one: while it runs."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(CATALOGUE.read_text())
    platform = start_platform(MC_CATALOGUE=str(catalogue))
    path = platform.home / "secrets" / "credentials.json"
    known = json.loads(path.read_text())
    gone = known.pop("TENANT_003")
    added = "mc_" + "ab" * 6 + "_" + "Z" * 43
    known["SECOND"] = {"tenant": "TENANT_001", "principal": "second@tenant-001", "token": added}
    early = "mc_" + "cd" * 6 + "_" + "Z" * 43
    known["EARLY"] = {"tenant": "NEW", "principal": "early@new", "token": early}
    path.write_text("\ufeff" + json.dumps(known))
    check = platform.mcctl("tenant", "check", check=False)
    assert check.returncode == 1
    assert f"SECOND: the platform knows no key id {'ab' * 6} (mcctl up imports" in check.stdout
    assert "EARLY: its tenant NEW is not in the catalogue" in check.stdout
    up = platform.mcctl("up")
    told = (up.stdout + up.stderr).splitlines()
    assert "credentials SECOND, TENANT_003: now valid" in told
    [refused] = [line for line in told if "EARLY" in line]
    assert "the catalogue has no tenant NEW (it has CANARY, " in refused
    assert (status(platform, added), status(platform, early)) == (200, 401)
    assert "no_tenant" in "".join(platform.log("blue-1"))
    check = platform.mcctl("tenant", "check", check=False).stdout
    assert "SECOND" not in check
    assert "NEW: has 1 credential, refused here, and is not in the catalogue" in check
    wait_until(lambda: status(platform, gone["token"]) == 401, what="it is refused")
    assert status(platform, platform.token("TENANT_003")) == 200, "a declared tenant gets another"

    text = '\n[tenants.NEW]\nresidency = "eu"\npurposes = ["support"]\nagents = ["records"]\n'
    catalogue.write_text(catalogue.read_text() + text)
    up = platform.mcctl("up")
    assert "began with another catalogue" in up.stdout + up.stderr
    assert "credentials NEW: now valid" in up.stdout + up.stderr
    platform.mcctl("tenant", "declare", "--reason", "a new customer")
    platform.mcctl("down")
    platform.mcctl("up")
    assert platform.ask(ORDER, tenant="NEW", purpose="support").text
    assert status(platform, early) == 200
    wait_until(lambda: events(platform, "catalogue.changed")[1:], what="the SIEM has it")
    change = events(platform, "catalogue.changed")[-1]
    assert (change["principal"], change["reason"]) == ("administrator@platform", "a new customer")
    assert change["changes"] == ["added tenants.NEW"]

    path.write_text(path.read_text().replace('"token": "mc_', '"token": "mk_', 1))
    broken = platform.mcctl("up", check=False)
    assert broken.returncode == 2
    assert "must be a token" in broken.stderr
    assert "mk_" not in broken.stderr
