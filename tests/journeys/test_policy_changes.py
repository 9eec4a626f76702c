"""A policy set is changed under a running platform, and a broken one is kept out."""

from __future__ import annotations

import json
import shutil

import httpx


def in_force(platform):
    return httpx.get(f"{platform.url}/health").json()["dependencies"]["policy"]


def test_a_set_is_applied_and_rolled_back_without_a_restart(platform, tmp_path):
    """The next decision after `apply` is the new set's, and after `rollback` the old one's."""
    before = in_force(platform)["digest"]
    changed = tmp_path / "changed"
    shutil.copytree("policies", changed)
    (changed / "closed.cedar").write_text(
        '@id("records-closed") @reason("stocktaking")\n'
        'forbid (principal, action == Action::"SendMessage", resource == Agent::"records")\n'
        'when { context.purpose == "support" && principal.tenant == Tenant::"TENANT_003" };\n'
    )
    untested = platform.mcctl("policy", "test", str(changed), "--mutation", check=False)
    assert untested.returncode == 1
    assert "records-closed" in untested.stdout + untested.stderr
    (changed / "tests" / "closed.toml").write_text(
        '[tenant]\nid = "TENANT_003"\nresidency = "eu"\npurposes = ["support"]\n'
        'agents = ["records"]\nautonomy_tier = 1\n'
        '[question]\naction = "SendMessage"\nresource_type = "Agent"\nresource_id = "records"\n'
        'resource_residency = "eu"\npurpose = "support"\n'
        '[[row]]\nname = "closed"\nallow = false\npolicies = ["records-closed"]\n'
    )
    platform.mcctl("policy", "apply", str(changed), "--yes", "--reason", "stocktaking")
    refused = platform.ask("Where is order O-2001?", tenant="TENANT_003")
    assert "records-closed" in refused.body["error"]["message"]
    assert platform.ask("Where is order O-2001?").text
    platform.mcctl("policy", "rollback", "--yes", "--reason", "it is over")
    assert in_force(platform)["digest"] == before
    told = json.loads(platform.mcctl("policy", "history", "--output", "json").stdout)["changes"]
    assert [(one["reason"], one["principal"]) for one in told[-2:]] == [
        ("stocktaking", "operator@platform"),
        ("it is over", "operator@platform"),
    ]
    assert told[-2]["changes"] == ["added policy records-closed"]
    assert platform.ask("Where is order O-2001?", tenant="TENANT_003").text


def test_a_set_that_would_break_the_engine_changes_nothing(platform, wait_until):
    """Dropped where the replicas look, it is refused and told; the one in force goes on deciding."""
    before = in_force(platform)["digest"]
    deep = platform.home / "policies" / "deep.cedar"
    nested = "(" * 20_000 + "true" + ")" * 20_000
    try:
        deep.write_text(
            f'@id("x") @reason("y") permit (principal, action, resource) when {{ {nested} }};'
        )
        wait_until(lambda: in_force(platform)["refused"], what="the set is refused")
        assert in_force(platform)["digest"] == before
        assert "nests too deeply" in in_force(platform)["refused"]["reason"]
        assert platform.ask("Where is order O-2001?").text
    finally:
        deep.unlink()
    wait_until(lambda: not in_force(platform)["refused"], what="the refusal is cleared")
