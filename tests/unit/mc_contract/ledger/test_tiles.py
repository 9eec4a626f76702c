"""Proofs from tiles are those of the whole tree, and read little of it."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.merkle_proofs import consistency_proof, inclusion_proof

from mc_contract.ledger.merkle import Frontier, ProofError, leaf_hash, node_hash, tree_root
from mc_contract.ledger.tiles import (
    TILE_WIDTH,
    Known,
    Node,
    TileId,
    consistency_pieces,
    frontier_at,
    inclusion_pieces,
    perfect_nodes,
    resolve,
    split_hashes,
    tiles_of,
)

LEAVES = [leaf_hash(number.to_bytes(4, "big")) for number in range(70_000)]


@cache
def _tiles(size: int) -> dict[TileId, list[bytes]]:
    """Every tile of a log of `size` leaves, also those that are not full."""
    tiles: dict[TileId, list[bytes]] = {}
    hashes, level = LEAVES[:size], 0
    while hashes:
        parts = [hashes[at : at + TILE_WIDTH] for at in range(0, len(hashes), TILE_WIDTH)]
        tiles |= {TileId(level, index): part for index, part in enumerate(parts)}
        hashes = [tree_root(part) for part in parts if len(part) == TILE_WIDTH]
        level += 1
    return tiles


SIZES = [1, 2, 3, 255, 256, 257, 511, 513, 1000, 1024, 65_535, 65_536, 65_537, 70_000]


@given(st.sampled_from(SIZES[:10]), st.data())
def test_inclusion_proofs_from_tiles_are_those_of_the_tree(size: int, data: st.DataObject) -> None:
    """The same hashes in the same order."""
    index = data.draw(st.integers(0, size - 1))
    found = resolve(inclusion_pieces(index, size), _tiles(size))
    assert found == inclusion_proof(LEAVES[:size], index)


@given(st.sampled_from(SIZES[:10]), st.data())
def test_proofs_that_share_what_they_hash_are_the_same(size: int, data: st.DataObject) -> None:
    """In whichever order they are made, consistency proofs among them."""
    known: Known = {}
    for index in data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5)):
        found = resolve(inclusion_pieces(index, size), _tiles(size), known)
        assert found == inclusion_proof(LEAVES[:size], index)
        found = resolve(consistency_pieces(index + 1, size), _tiles(size), known)
        assert found == consistency_proof(LEAVES, index + 1, size)


def test_a_page_of_proofs_hashes_each_node_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 proofs that stand together need hardly more hashes than one tile has nodes."""
    hashed = 0

    def counted(left: bytes, right: bytes) -> bytes:
        nonlocal hashed
        hashed += 1
        return node_hash(left, right)

    monkeypatch.setattr("mc_contract.ledger.tiles.node_hash", counted)
    known: Known = {}
    for index in range(40_000, 40_200):
        resolve(inclusion_pieces(index, 65_536), _tiles(65_536), known)
    assert hashed < 3 * TILE_WIDTH


@given(st.sampled_from(SIZES[:10]), st.data())
def test_consistency_proofs_from_tiles_are_those_of_the_tree(
    size: int, data: st.DataObject
) -> None:
    """The same hashes in the same order."""
    first = data.draw(st.integers(1, size))
    found = resolve(consistency_pieces(first, size), _tiles(size))
    assert found == consistency_proof(LEAVES, first, size)


@pytest.mark.parametrize("size", SIZES[10:])
def test_proofs_over_three_levels_of_tiles(size: int) -> None:
    """At and around 256 * 256 leaves, where a third level begins."""
    for index in (0, 255, 256, 40_000, size - 1):
        found = resolve(inclusion_pieces(index, size), _tiles(size))
        assert found == inclusion_proof(LEAVES[:size], index)
    found = resolve(consistency_pieces(40_001, size), _tiles(size))
    assert found == consistency_proof(LEAVES, 40_001, size)


@pytest.mark.parametrize("size", [0, *SIZES])
def test_frontier_from_tiles_has_the_trees_root(size: int) -> None:
    """A reader can go on hashing from any size."""
    frontier = frontier_at(size, _tiles(size))
    assert frontier.size == size
    assert frontier.root() == tree_root(LEAVES[:size])
    assert Frontier.from_bytes(frontier.to_bytes()) == frontier


@given(st.integers(1, 2**40), st.data())
def test_a_proof_needs_few_tiles_however_large_the_log(size: int, data: st.DataObject) -> None:
    """At most three tiles a level: the path's, and two at the log's ragged edges."""
    index = data.draw(st.integers(0, size - 1))
    levels = (size.bit_length() + 7) // 8
    assert len(tiles_of(inclusion_pieces(index, size))) <= 3 * levels
    assert len(tiles_of(consistency_pieces(index + 1, size))) <= 3 * levels


@given(st.integers(0, 2**40))
def test_perfect_nodes_cover_a_log_exactly(size: int) -> None:
    """Left to right, without a gap, each aligned to its own size."""
    at = 0
    for node in perfect_nodes(0, size):
        assert node.index << node.height == at
        at += 1 << node.height
    assert at == size


def test_a_missing_or_short_tile_is_named() -> None:
    """No proof is made of what is not there."""
    with pytest.raises(ProofError, match="tile 0/0 lacks hashes 3 to 3"):
        resolve([(Node(0, 3),)], {TileId(0, 0): LEAVES[:3]})
    with pytest.raises(ProofError, match="tile 1/0 lacks"):
        resolve([(Node(8, 0),)], {})
    with pytest.raises(ProofError, match="33 bytes"):
        split_hashes(b"x" * 33)


def test_proofs_out_of_range_are_refused() -> None:
    """As those from whole trees are."""
    with pytest.raises(ProofError, match="no leaf 3"):
        inclusion_pieces(3, 3)
    with pytest.raises(ProofError, match="no consistency proof from size 0"):
        consistency_pieces(0, 3)
