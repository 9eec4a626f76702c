"""Who is told how much by `/health`."""

from __future__ import annotations

from mc_platform.observe.health import Health


async def _works():
    return True, {"names": ["TENANT_001"]}


async def test_a_tenant_is_told_what_runs_and_a_stranger_is_not():
    """Whoever compares replicas must know them apart; dependencies and region are no tenant's."""
    identity = {
        "service": "agent-workbench",
        "version": "1",
        "colour": "green",
        "replica": "green-1",
        "region": "eu-1",
        "faults": {},
        "running": {"instance": "i"},
    }
    health = Health(identity=lambda: identity, vital={"policy": _works}, other={})
    _, whole = await health.look()
    _, tenant = await health.look(detail=False, known=True)
    _, stranger = await health.look(detail=False)
    assert set(whole) == {"status", "dependencies", *identity}
    assert set(tenant) == {"status", "service", "version", "colour", "replica", "running"}
    assert set(stranger) == {"status", "service", "version", "colour"}
