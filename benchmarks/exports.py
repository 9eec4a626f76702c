"""What an audit export costs for each entry at growing logs: the service's proofs, and the tool's check.

A tenant has every fourth entry of a log, which is kept in memory here: the database's time is not
among the figures. The service plans and makes the proofs of pages of 200 entries, as `/audit/tenant`
does; the tool verifies each entry against the checkpoint and writes it, as `mcctl audit export` does.

    python benchmarks/exports.py [--rows FILE] [--full]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from functools import partial

import _table
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.ledger.checkpoint import Checkpoint, sign_checkpoint
from mc_contract.ledger.export import (
    ExportWriter,
    ProvenLeaf,
    log_origin,
    verify_leaf,
    verify_log_checkpoint,
)
from mc_contract.ledger.merkle import leaf_hash, tree_root
from mc_contract.ledger.tiles import TileId
from mc_platform.query.audit import MOST_PROVEN
from mc_platform.record import Prover, TileKeeper

_SIZES, _MORE = (10_000, 100_000), 1_000_000
_EVERY = 4
_FLAT = 1.25
_REGION, _TENANT = "eu-1", "TENANT_001"


class _Log:
    """A `TileStore` in memory."""

    def __init__(self, size: int) -> None:
        self.hashes = [leaf_hash(self.leaf(index)) for index in range(size)]
        self.kept: dict[TileId, tuple[list[bytes], bytes]] = {}

    @staticmethod
    def leaf(index: int) -> bytes:
        event = {"id": f"event-{index}", "region": _REGION, "tenant": _TENANT, "detail": "x" * 600}
        return json.dumps(event).encode()

    async def size(self) -> int:
        return len(self.hashes)

    async def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, list[bytes]]:
        return {tile: self.kept[tile][0] for tile in wanted if tile in self.kept}

    async def tile_count(self, level: int) -> int:
        return sum(tile.level == level for tile in self.kept)

    async def tile_roots(self, level: int, first: int, count: int) -> list[bytes]:
        wanted = [TileId(level, index) for index in range(first, first + count)]
        return [self.kept[tile][1] for tile in wanted if tile in self.kept]

    async def leaf_hashes(self, first: int, count: int) -> list[bytes]:
        return self.hashes[first : first + count]

    async def store_tile(self, tile: TileId, hashes: Sequence[bytes], root: bytes) -> None:
        self.kept[tile] = list(hashes), root


async def _prove(prover: Prover, size: int, into: list[ProvenLeaf]) -> None:
    indexes = range(0, size, _EVERY)
    for at in range(0, len(indexes), MOST_PROVEN):
        page = indexes[at : at + MOST_PROVEN]
        proofs = await prover.inclusion(page, size)
        into += [ProvenLeaf(i, _Log.leaf(i), proof) for i, proof in zip(page, proofs, strict=True)]


def _prove_all(prover: Prover, size: int, into: list[ProvenLeaf]) -> None:
    asyncio.run(_prove(prover, size, into))


def _write(note: str, key: Ed25519PrivateKey, leaves: Sequence[ProvenLeaf]) -> None:
    checkpoint = verify_log_checkpoint(note, key.public_key())
    writer = ExportWriter(len, region=_REGION, checkpoint=note, tenant=_TENANT)
    for leaf in leaves:
        verify_leaf(leaf, checkpoint, region=_REGION, tenant=_TENANT)
        writer.add(leaf)
    writer.end()


def main() -> int:
    """Measure; 1 if an entry of a larger log costs much more."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--full", action="store_true", help="a million entries as well")
    _table.add_option(options)
    given = options.parse_args()
    key = Ed25519PrivateKey.generate()
    spent: dict[str, dict[int, list[float]]] = {"service": {}, "tool": {}}
    logs = []
    for size in (*_SIZES, *((_MORE,) if given.full else ())):
        log = _Log(size)
        prover = Prover(log, TileKeeper(log))
        asyncio.run(TileKeeper(log).keep())
        head = Checkpoint(log_origin(_REGION), size, tree_root(log.hashes))
        note = sign_checkpoint(head, log_origin(_REGION), key)
        logs.append((size, prover, note))
    for _ in range(given.rounds):
        for size, prover, note in logs:
            leaves: list[ProvenLeaf] = []
            work = {
                "service": partial(_prove_all, prover, size, leaves),
                "tool": partial(_write, note, key, leaves),
            }
            for side, run in work.items():
                each_us = _table.cpu_s_of(run) / (size / _EVERY) * 1e6
                spent[side].setdefault(size, []).append(each_us)
    series = [
        _table.Series(
            what=f"audit export, {side}",
            size="entries of the log",
            unit="CPU us an entry",
            points=tuple((size, tuple(values)) for size, values in found.items()),
            at_most=tuple((size, _FLAT) for size, _, _ in logs[1:]),
        )
        for side, found in spent.items()
    ]
    return _table.finish(series, given.rows)


if __name__ == "__main__":
    sys.exit(main())
