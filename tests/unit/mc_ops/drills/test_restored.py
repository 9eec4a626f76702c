"""An error in the midst of a restore drill: what stays halted is said, and how that ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from mc_ops.drills import Plan
from mc_ops.drills.clients import Clients
from mc_ops.drills.faults import OneRegion
from mc_ops.drills.report import Times
from mc_ops.drills.restored import RestoredRegion
from mc_ops.errors import CouldNotTell


def of_region(home, **state):
    def up(_request):
        raise CouldNotTell("blue-1 is not ready", hint="mcctl logs blue-1")

    region = SimpleNamespace(workspace=SimpleNamespace(home=home), url="", up=up)
    backup = RestoredRegion(region, "token", home, lambda _: None)
    for name, value in state.items():
        setattr(backup, name, value)
    plan = SimpleNamespace(scenario="restore")
    fault = OneRegion(region, plan, None, lambda _: None, backup)
    fault._is_broken = True
    return fault, backup


def mended(fault):
    with pytest.raises(CouldNotTell) as raised:
        asyncio.run(fault.mend())
    return raised.value


def test_a_mending_that_fails_after_the_epoch_began_says_that_autonomy_is_halted(tmp_path):
    """Who reads only that a replica does not start would never look for the halt."""
    fault, _ = of_region(tmp_path / "my home", done=True)
    error = mended(fault)
    assert error.message == "blue-1 is not ready; and autonomy is halted in the restored region"
    assert error.hint == (
        "mcctl logs blue-1; then, when a person has looked: "
        f"MC_HOME='{tmp_path}/my home' mcctl autonomy resume --all --reason TEXT"
    )


@pytest.mark.parametrize("state", [{"done": False}, {"done": True, "is_resumed": True}])
def test_no_halt_is_told_where_none_is(tmp_path, state):
    """Before the epoch began, and after autonomy was resumed."""
    fault, _ = of_region(tmp_path, **state)
    assert mended(fault).message == "blue-1 is not ready"


def test_a_restore_that_ends_with_a_full_disk_is_mended_all_the_same(tmp_path, monkeypatch):
    """Its error is none of ours; the platform stayed down behind it."""
    fault, backup = of_region(tmp_path)

    def full(_self, _acknowledged):
        raise OSError(28, "No space left on device")

    async def drill():
        with pytest.raises(OSError, match="No space left"):
            await backup.restore([])
        await fault.mend()

    monkeypatch.setattr(RestoredRegion, "_restore", full)
    with pytest.raises(CouldNotTell, match="blue-1 is not ready"):
        asyncio.run(drill())


def test_what_was_answered_at_the_last_moment_is_held_against_the_backup(tmp_path, monkeypatch):
    """Its answer had left the platform, and no client had read it yet when the platform was dead."""
    fault, _ = of_region(tmp_path)
    held = []

    async def restore(_self, rows):
        held.extend(rows)

    async def drill():
        sent, arrived = asyncio.Event(), asyncio.Event()

        async def ask(_message):
            sent.set()
            await arrived.wait()
            return True

        clients = Clients({}, Plan("restore", {}, rate_per_s=20), ask)
        load = asyncio.create_task(clients.run())
        await sent.wait()
        recovery = asyncio.create_task(fault.recover(clients, Times(fault_s=0.0)))
        asyncio.get_running_loop().call_later(0.2, arrived.set)
        with pytest.raises(CouldNotTell, match="blue-1 is not ready"):
            await recovery
        clients.stop()
        await load

    monkeypatch.setattr(RestoredRegion, "restore", restore)
    asyncio.run(drill())
    assert {row.outcome for row in held} == {"acknowledged"}
