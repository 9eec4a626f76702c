"""What is kept within bounds."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.mc_platform.adapters.cedar.questions import TENANT

from mc_platform.adapters.cedar.kept import Kept


def test_what_was_used_longest_ago_goes_first() -> None:
    """A value that is asked for stays; the one that nobody used makes room."""
    kept: Kept[int] = Kept(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]
    assert len(kept) == 2


def test_a_changed_tenant_is_another_key() -> None:
    """Tenants of one id hash alike, and are told apart all the same."""
    kept: Kept[str] = Kept(10)
    changed = replace(TENANT, autonomy_tier=TENANT.autonomy_tier + 1)
    kept.put(TENANT, "before")
    assert hash(TENANT) == hash(changed)
    assert kept.get(changed) is None
    assert kept.get(replace(TENANT)) == "before"
