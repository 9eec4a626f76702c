"""Places of a bulkhead: bounds hold whatever comes, and nobody waits for a place that is free."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from mc_platform.bulkheads import Slot, Slots
from mc_platform.model.ids import TenantId

TENANTS = [TenantId(name) for name in ("A", "B", "C")]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "patient", "take_now", "release", "cancel"]),
        st.sampled_from(TENANTS),
        st.integers(0, 7),
    ),
    max_size=40,
)


@given(
    steps=STEPS,
    per_tenant=st.integers(1, 4),
    total=st.none() | st.integers(3, 6),
    kept_each=st.integers(0, 1),
)
def test_bounds_hold_and_no_free_place_is_kept_from_who_waits(steps, per_tenant, total, kept_each):
    """Taken, given back, waited for and given up in any order; in the end all of it is free again."""

    async def story() -> None:
        places = Slots(
            "places", per_tenant=per_tenant, total=total, kept_each=kept_each, tenants=3,
            wait_s=60, most_waiting=5,
        )  # fmt: skip
        held: list[tuple[TenantId, Slot]] = []
        waiting: list[asyncio.Task[None]] = []

        async def take(tenant: TenantId, *, patient: bool) -> None:
            held.append((tenant, await places.take(tenant, patient=patient)))

        for what, tenant, at in steps:
            if what in ("take", "patient"):
                waiting.append(asyncio.create_task(take(tenant, patient=what == "patient")))
            elif what == "take_now":
                if places.take_now(tenant):
                    held.append((tenant, Slot(tenant, places)))
            elif what == "release" and held:
                held.pop(at % len(held))[1].release()
            elif what == "cancel" and waiting:
                waiting.pop(at % len(waiting)).cancel()
            if at % 2:
                await _settled()
            _holds(places, held, settled=bool(at % 2))
        await _settled()  # who was about to ask has a place now, or waits for one
        while held or any(places.waiting(tenant) for tenant in TENANTS):
            await _settled()
            _holds(places, held, settled=True)
            while held:
                held.pop()[1].release()
        await asyncio.gather(*waiting, return_exceptions=True)
        for _, place in held:
            place.release()
        assert [places.taken(tenant) for tenant in TENANTS] == [0, 0, 0]

    def _holds(places: Slots, held: list[tuple[TenantId, Slot]], *, settled: bool) -> None:
        taken = {tenant: places.taken(tenant) for tenant in TENANTS}
        assert max(taken.values()) <= per_tenant
        assert total is None or sum(taken.values()) <= total
        if not settled:
            return
        assert taken == {tenant: sum(whose == tenant for whose, _ in held) for tenant in TENANTS}
        for tenant in TENANTS:
            if places.waiting(tenant):
                full = taken[tenant] == per_tenant
                others = 2 * kept_each - sum(
                    min(kept_each, count) for whose, count in taken.items() if whose != tenant
                )
                kept = 0 if taken[tenant] < kept_each else others
                assert full or (total is not None and total - sum(taken.values()) <= kept)

    # A wake-up that is lost fails the story and does not hang it
    asyncio.run(asyncio.wait_for(story(), 60))


async def _settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)
