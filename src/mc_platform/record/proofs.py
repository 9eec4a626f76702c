"""Tiles kept behind the log, and proofs from them.

Tiles are derived data: any replica may write them, and whoever comes second changes nothing. A
proof is only as good as the tiles; its reader checks it against a signed checkpoint anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from mc_contract.ledger.merkle import Frontier, tree_root
from mc_contract.ledger.tiles import (
    TILE_WIDTH,
    Known,
    Piece,
    TileId,
    consistency_pieces,
    frontier_at,
    inclusion_pieces,
    perfect_nodes,
    resolve,
    tiles_of,
)
from mc_platform.errors import BadRequest, LedgerDamaged


class TileStore(Protocol):
    """Where tiles and leaf hashes are. Behind it: PostgreSQL; memory in tests.

    Every call raises `Unavailable` when it cannot be read or written.
    """

    async def size(self) -> int:
        """How many leaves the log has."""

    async def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, list[bytes]]:
        """The hashes of those of the wanted tiles that are full and kept."""

    async def tile_count(self, level: int) -> int:
        """How many tiles of a level are kept: 0 to that, without a gap."""

    async def tile_roots(self, level: int, first: int, count: int) -> list[bytes]:
        """The roots of a level's tiles from `first`, in order; fewer if fewer are kept."""

    async def leaf_hashes(self, first: int, count: int) -> list[bytes]:
        """Leaf hashes from `first`, in order without a gap; fewer if fewer are there."""

    async def store_tile(self, tile: TileId, hashes: Sequence[bytes], root: bytes) -> None:
        """Keep a full tile; another's of the same place stays."""


class TileKeeper:
    """Writes every tile that is full and not kept yet."""

    def __init__(self, store: TileStore) -> None:
        self._store = store

    async def keep(self) -> int:
        """Write all that is missing now; return how many tiles were written.

        Raises:
            Unavailable: the store cannot be read or written.
            LedgerDamaged: hashes are missing.
        """
        written, level, below = 0, 0, await self._store.size()
        while below >= TILE_WIDTH:
            kept = await self._store.tile_count(level)
            for index in range(kept, below // TILE_WIDTH):
                first = index * TILE_WIDTH
                hashes = (
                    await self._store.leaf_hashes(first, TILE_WIDTH)
                    if level == 0
                    else await self._store.tile_roots(level - 1, first, TILE_WIDTH)
                )
                if len(hashes) != TILE_WIDTH:
                    raise LedgerDamaged(f"tile {level}/{index} cannot be made: hashes are missing")
                await self._store.store_tile(TileId(level, index), hashes, tree_root(hashes))
                written += 1
            level, below = level + 1, below // TILE_WIDTH
        return written


class Prover:
    """Inclusion and consistency proofs, and frontiers, in O(log n) reads."""

    def __init__(self, store: TileStore, keeper: TileKeeper) -> None:
        self._store = store
        self._keeper = keeper

    async def inclusion(self, indexes: Sequence[int], size: int) -> list[list[bytes]]:
        """The audit path of each index in the tree of `size` leaves.

        Raises:
            BadRequest: an index or the size is not in the log.
            Unavailable: the log cannot be read.
            LedgerDamaged: hashes are missing.
        """
        await self._require(size)
        outside = [index for index in indexes if not 0 <= index < size]
        if outside:
            raise BadRequest(f"no entry {outside[0]} in a log of size {size}")
        plans = [inclusion_pieces(index, size) for index in indexes]
        tiles = await self._fetch([piece for plan in plans for piece in plan], size)
        known: Known = {}
        # Two hundred proofs are some thousand hashes
        return await asyncio.to_thread(lambda: [resolve(plan, tiles, known) for plan in plans])

    async def consistency(self, first: int, second: int) -> list[bytes]:
        """The proof that the log of `second` leaves begins with that of `first`; raises alike."""
        await self._require(second)
        if not 1 <= first <= second:
            raise BadRequest(f"expected 1 <= first <= second, got {first} and {second}")
        plan = consistency_pieces(first, second)
        return resolve(plan, await self._fetch(plan, second))

    async def frontier(self, size: int) -> Frontier:
        """The frontier of the first `size` leaves; raises alike."""
        if size == 0:
            return Frontier()
        await self._require(size)
        return frontier_at(size, await self._fetch([perfect_nodes(0, size)], size))

    async def _require(self, size: int) -> None:
        known = await self._store.size()
        if not 1 <= size <= known:
            raise BadRequest(f"the log has {known} entries, got size {size}")

    async def _fetch(self, pieces: Sequence[Piece], size: int) -> dict[TileId, list[bytes]]:
        wanted = sorted(tiles_of(pieces))
        found = await self._store.tiles([tile for tile in wanted if _is_full(tile, size)])
        if any(tile not in found for tile in wanted if _is_full(tile, size)):
            await self._keeper.keep()  # it was behind
            found = await self._store.tiles([tile for tile in wanted if _is_full(tile, size)])
        for tile in wanted:
            if not _is_full(tile, size):
                found[tile] = await self._partial(tile, size)
        missing = [tile for tile in wanted if len(found.get(tile, ())) < _width(tile, size)]
        if missing:
            raise LedgerDamaged(
                f"tile {missing[0].level}/{missing[0].index} of the ledger is missing",
                hint="`mcctl audit verify` tells whether entries are missing too",
            )
        return found

    async def _partial(self, tile: TileId, size: int) -> list[bytes]:
        first, count = tile.index * TILE_WIDTH, _width(tile, size)
        if tile.level == 0:
            return await self._store.leaf_hashes(first, count)
        roots = await self._store.tile_roots(tile.level - 1, first, count)
        if len(roots) < count:
            await self._keeper.keep()
            roots = await self._store.tile_roots(tile.level - 1, first, count)
        return roots


def _width(tile: TileId, size: int) -> int:
    """How many hashes the tile has in a log of `size` leaves."""
    at_level: int = size // TILE_WIDTH**tile.level
    return min(TILE_WIDTH, at_level - tile.index * TILE_WIDTH)


def _is_full(tile: TileId, size: int) -> bool:
    return _width(tile, size) == TILE_WIDTH
