"""The tile keeper and the prover over a store that counts what is read of it."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Sequence

import pytest
from tests.isolation import steps

from mc_contract.ledger.merkle import leaf_hash, tree_root, verify_consistency, verify_inclusion
from mc_contract.ledger.tiles import TileId
from mc_platform.errors import BadRequest, Unavailable
from mc_platform.query.audit import MOST_PROVEN
from mc_platform.record import Prover, TileKeeper

SIZE = 100_000
LEAVES = [leaf_hash(number.to_bytes(4, "big")) for number in range(SIZE)]


class MemoryTiles:
    """A `TileStore` in memory; `hashes_read` counts 32-byte hashes that left it."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = dict(enumerate(leaves))
        self.kept: dict[TileId, tuple[list[bytes], bytes]] = {}
        self.hashes_read = 0

    async def size(self) -> int:
        return max(self.leaves, default=-1) + 1

    async def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, list[bytes]]:
        found = {tile: self.kept[tile][0] for tile in wanted if tile in self.kept}
        self.hashes_read += sum(map(len, found.values()))
        return found

    async def tile_count(self, level: int) -> int:
        return max((tile.index + 1 for tile in self.kept if tile.level == level), default=0)

    async def tile_roots(self, level: int, first: int, count: int) -> list[bytes]:
        wanted = [TileId(level, index) for index in range(first, first + count)]
        found = [self.kept[tile][1] for tile in wanted if tile in self.kept]
        self.hashes_read += len(found)
        return found

    async def leaf_hashes(self, first: int, count: int) -> list[bytes]:
        found = [self.leaves[at] for at in range(first, first + count) if at in self.leaves]
        self.hashes_read += len(found)
        return found

    async def store_tile(self, tile: TileId, hashes: Sequence[bytes], root: bytes) -> None:
        self.kept.setdefault(tile, (list(hashes), root))


def _prover(store: MemoryTiles) -> Prover:
    return Prover(store, TileKeeper(store))


@pytest.fixture
async def store() -> MemoryTiles:
    made = MemoryTiles(LEAVES)
    await TileKeeper(made).keep()
    made.hashes_read = 0
    return made


async def test_proofs_over_a_large_log_read_little_of_it(store: MemoryTiles) -> None:
    """100,000 entries: a proof reads at most five tiles' worth of hashes, and verifies."""
    root = tree_root(LEAVES)
    for index in (0, 77_777, SIZE - 1):
        store.hashes_read = 0
        [proof] = await _prover(store).inclusion([index], SIZE)
        verify_inclusion(leaf=LEAVES[index], index=index, size=SIZE, proof=proof, root=root)
        assert store.hashes_read <= 5 * 256
    store.hashes_read = 0
    proof = await _prover(store).consistency(54_321, SIZE)
    first_root = tree_root(LEAVES[:54_321])
    verify_consistency(
        first=54_321, second=SIZE, first_root=first_root, second_root=root, proof=proof
    )
    assert store.hashes_read <= 5 * 256


async def test_a_page_of_proofs_does_not_keep_the_loop(store, monkeypatch) -> None:
    """As many as a page may have, wherever they stand."""
    prover, cost = _prover(store), []
    monkeypatch.setattr(events.Handle, "_run", steps.run_measured)
    await asyncio.sleep(0)
    for _ in range(3):
        steps.reset()
        await prover.inclusion(range(0, SIZE, SIZE // MOST_PROVEN)[:MOST_PROVEN], SIZE)
        await asyncio.sleep(0)
        cost.append(dict(steps.longest))
    assert min(step["cpu_s"] for step in cost) <= 0.05, cost


async def test_proofs_are_made_when_the_leaves_are_gone(store: MemoryTiles) -> None:
    """Tiles outlive the entries: those of archived partitions are still proven."""
    for index in range(90_112):  # 352 whole tiles
        del store.leaves[index]
    [proof] = await _prover(store).inclusion([5], SIZE)
    verify_inclusion(leaf=LEAVES[5], index=5, size=SIZE, proof=proof, root=tree_root(LEAVES))


async def test_a_keeper_that_is_behind_catches_up_when_asked(store: MemoryTiles) -> None:
    """A proof does not wait for the next interval."""
    store.kept.clear()
    frontier = await _prover(store).frontier(SIZE)
    assert frontier.root() == tree_root(LEAVES)
    assert await store.tile_count(0) == SIZE // 256


async def test_keeping_again_writes_nothing(store: MemoryTiles) -> None:
    """Any replica may keep tiles; whoever is second has nothing to do."""
    assert await TileKeeper(store).keep() == 0


async def test_a_tile_of_missing_entries_is_not_made() -> None:
    """Better none than a wrong one."""
    store = MemoryTiles(LEAVES[:600])
    del store.leaves[300]
    with pytest.raises(Unavailable, match="tile 0/1 cannot be made"):
        await TileKeeper(store).keep()
    assert set(store.kept) == {TileId(0, 0)}


async def test_what_is_not_in_the_log_is_refused(store: MemoryTiles) -> None:
    """Each with what was asked and what there is."""
    prover = _prover(store)
    with pytest.raises(BadRequest, match="no entry 7 in a log of size 7"):
        await prover.inclusion([3, 7], 7)
    with pytest.raises(BadRequest, match=r"100000 entries, got size 100001"):
        await prover.inclusion([3], SIZE + 1)
    with pytest.raises(BadRequest, match="1 <= first <= second, got 0 and 7"):
        await prover.consistency(0, 7)
