"""Proofs from tiles: which hashes a proof needs, where they stand, and how they are put together.

A tile is 256 hashes, in the spirit of C2SP tlog-tiles (https://c2sp.org/tlog-tiles): level 0 holds
leaf hashes, level n the roots of 256 tiles of level n - 1. Unlike there, only full tiles exist, and
each is kept with its root: what stands right of the last full tile is read from the level below.

Pure: a proof is planned as nodes, a reader fetches the tiles of those nodes, `resolve` does the
rest. A proof over n leaves touches about log256(n) tiles, however many leaves there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mc_contract.ledger.merkle import HASH_BYTES, Frontier, ProofError, folded, node_hash

TILE_WIDTH = 256
TILE_HEIGHT = 8
TILE_BYTES = TILE_WIDTH * HASH_BYTES


@dataclass(frozen=True, slots=True, order=True)
class TileId:
    """A tile's place: its level, and its index within that level."""

    level: int
    index: int


@dataclass(frozen=True, slots=True)
class Node:
    """The perfect subtree over the leaves `[index * 2**height, (index + 1) * 2**height)`."""

    height: int
    index: int

    @property
    def tile(self) -> TileId:
        """The tile whose hashes give this node's."""
        level, within = divmod(self.height, TILE_HEIGHT)
        return TileId(level, (self.index << within) // TILE_WIDTH)

    @property
    def slots(self) -> tuple[int, int]:
        """The first of the tile's hashes that it is over, and how many those are."""
        within = self.height % TILE_HEIGHT
        return (self.index << within) % TILE_WIDTH, 1 << within


# One hash of a proof: the perfect subtrees that it is folded from, left to right.
Piece = tuple[Node, ...]


def perfect_nodes(low: int, high: int) -> Piece:
    """The range `[low, high)` as perfect subtrees; `low` must be aligned as RFC 6962 splits are."""
    nodes = []
    while low < high:
        height = (high - low).bit_length() - 1
        nodes.append(Node(height, low >> height))
        low += 1 << height
    return tuple(nodes)


def inclusion_pieces(index: int, size: int) -> list[Piece]:
    """What PATH(index, leaves[:size]) is made of, in the proof's order.

    Raises:
        ProofError: when there is no leaf `index`.
    """
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of size {size}")
    pieces: list[Piece] = []
    low, high = 0, size
    while high - low > 1:
        split = low + (1 << ((high - low - 1).bit_length() - 1))
        if index < split:
            pieces.append(perfect_nodes(split, high))
            high = split
        else:
            pieces.append(perfect_nodes(low, split))
            low = split
    pieces.reverse()
    return pieces


def consistency_pieces(first: int, second: int) -> list[Piece]:
    """What PROOF(first, leaves[:second]) is made of, in the proof's order.

    Raises:
        ProofError: unless 1 <= first <= second.
    """
    if not 1 <= first <= second:
        raise ProofError(f"no consistency proof from size {first} to {second}")
    pieces: list[Piece] = []
    low, high = 0, second
    while first != high:
        split = low + (1 << ((high - low - 1).bit_length() - 1))
        if first <= split:
            pieces.append(perfect_nodes(split, high))
            high = split
        else:
            pieces.append(perfect_nodes(low, split))
            low = split
    if low > 0:
        pieces.append(perfect_nodes(low, high))
    pieces.reverse()
    return pieces


def tiles_of(pieces: Iterable[Piece]) -> set[TileId]:
    """The tiles that `resolve` will need."""
    return {node.tile for piece in pieces for node in piece}


Known = dict[tuple[int, int], bytes]
"""Hashes of nodes, by height and index."""


def resolve(
    pieces: Iterable[Piece],
    tiles: Mapping[TileId, Sequence[bytes]],
    known: Known | None = None,
) -> list[bytes]:
    """The proof's hashes.

    Args:
        pieces: From `inclusion_pieces` or `consistency_pieces`.
        tiles: The hashes of each tile of `tiles_of`; of one that is not full, those there are.
        known: Hashes of nodes of the same tiles; those that are computed are added. Proofs of one
            page share most of theirs.

    Raises:
        ProofError: when a tile is missing, or has fewer hashes than are needed.
    """
    known = {} if known is None else known
    return [folded([_hash_of(node, tiles, known) for node in piece]) for piece in pieces]


def frontier_at(size: int, tiles: Mapping[TileId, Sequence[bytes]]) -> Frontier:
    """The frontier of the first `size` leaves; raises as `resolve` does."""
    known: Known = {}
    return Frontier(size, tuple(_hash_of(node, tiles, known) for node in perfect_nodes(0, size)))


def split_hashes(stored: bytes) -> list[bytes]:
    """Hashes as they are stored, one after the other.

    Raises:
        ProofError: the length is not a multiple of a hash's.
    """
    if len(stored) % HASH_BYTES:
        raise ProofError(f"{len(stored)} bytes are no whole number of hashes")
    return [stored[at : at + HASH_BYTES] for at in range(0, len(stored), HASH_BYTES)]


def _hash_of(node: Node, tiles: Mapping[TileId, Sequence[bytes]], known: Known) -> bytes:
    hashed = known.get((node.height, node.index))
    if hashed is not None:
        return hashed
    start, count = node.slots
    hashes = tiles.get(node.tile, ())
    if len(hashes) < start + count:
        raise ProofError(
            f"tile {node.tile.level}/{node.tile.index} lacks hashes {start} to {start + count - 1}"
        )
    return _within(node.height, node.index, hashes, start, known)


def _within(height: int, index: int, hashes: Sequence[bytes], start: int, known: Known) -> bytes:
    """The hash of a node over a tile's hashes from `start`, which are all there."""
    hashed = known.get((height, index))
    if hashed is None:
        if height % TILE_HEIGHT == 0:
            return hashes[start]
        half = 1 << (height % TILE_HEIGHT - 1)
        hashed = node_hash(
            _within(height - 1, 2 * index, hashes, start, known),
            _within(height - 1, 2 * index + 1, hashes, start + half, known),
        )
        known[height, index] = hashed
    return hashed
