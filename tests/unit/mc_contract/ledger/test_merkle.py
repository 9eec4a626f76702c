"""The Merkle tree: public Certificate Transparency vectors, and the laws of its proofs."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.merkle_proofs import consistency_proof, inclusion_proof

from mc_contract.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    leaf_hash,
    node_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

# The eight inputs, roots, and (below) paths and proofs of the certificate-transparency reference
# tests: merkletree/merkle_verifier_test.cc, merkle_tree_test.cc
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): INCLUSION[(0, 8)],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def _hashes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def _leaves(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


@pytest.mark.parametrize("size", range(9))
def test_root_of_public_vectors(size: int) -> None:
    """The frontier and the whole tree have the roots of the CT reference tests."""
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier = frontier.append(leaf)
    assert frontier.size == size
    assert frontier.root().hex() == tree_root(LEAVES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize(("at", "proof"), INCLUSION.items())
def test_inclusion_proof_of_public_vectors(at: tuple[int, int], proof: list[str]) -> None:
    """Inclusion proofs are those of the CT reference tests, and verify."""
    index, size = at
    assert inclusion_proof(LEAVES[:size], index) == _hashes(proof)
    verify_inclusion(
        leaf=LEAVES[index],
        index=index,
        size=size,
        proof=_hashes(proof),
        root=bytes.fromhex(ROOTS[size]),
    )


@pytest.mark.parametrize(("sizes", "proof"), CONSISTENCY.items())
def test_consistency_proof_of_public_vectors(sizes: tuple[int, int], proof: list[str]) -> None:
    """Consistency proofs are those of the CT reference tests, and verify."""
    first, second = sizes
    assert consistency_proof(LEAVES, first, second) == _hashes(proof)
    verify_consistency(
        first=first,
        second=second,
        first_root=bytes.fromhex(ROOTS[first]),
        second_root=bytes.fromhex(ROOTS[second]),
        proof=_hashes(proof),
    )


def test_proofs_of_the_rfcs_example_tree() -> None:
    """RFC 6962 section 2.1.3: the paths and proofs that it spells for its tree of seven leaves."""
    a, b, c, d, e, f, j = LEAVES[:7]
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, l_ = node_hash(g, h), node_hash(i, j)
    assert tree_root(LEAVES[:7]) == node_hash(k, l_)
    for index, path in ((0, [b, h, l_]), (3, [c, g, l_]), (4, [f, j, k]), (6, [i, k])):
        assert inclusion_proof(LEAVES[:7], index) == path
    for first, proof in ((3, [c, d, g, l_]), (4, [l_]), (6, [i, j, k])):
        assert consistency_proof(LEAVES[:7], first, 7) == proof


def test_hashes_of_leaf_and_node_are_domain_separated() -> None:
    """A leaf that spells an inner node's input does not hash like that node."""
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"") != EMPTY_ROOT == hashlib.sha256(b"").digest()


@given(st.data())
def test_inclusion_holds_for_each_leaf_and_no_other(data: st.DataObject) -> None:
    """Every leaf's proof verifies; with another leaf, index, size or flipped hash it does not."""
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    leaves = _leaves(size)
    proof, root = inclusion_proof(leaves, index), tree_root(leaves)
    verify_inclusion(leaf=leaves[index], index=index, size=size, proof=proof, root=root)
    stranger = leaf_hash(b"stranger")
    with pytest.raises(ProofError):
        verify_inclusion(leaf=stranger, index=index, size=size, proof=proof, root=root)
    for changed in (proof[:-1], [*proof, stranger], [stranger, *proof[1:]]):
        if changed != proof:
            with pytest.raises(ProofError):
                verify_inclusion(
                    leaf=leaves[index], index=index, size=size, proof=changed, root=root
                )
    other = data.draw(st.integers(-1, size))
    if other != index:
        with pytest.raises(ProofError):
            verify_inclusion(leaf=leaves[index], index=other, size=size, proof=proof, root=root)


@given(st.data())
def test_consistency_holds_for_prefixes_and_no_rewrites(data: st.DataObject) -> None:
    """A prefix's proof verifies; a tree in which an old leaf was rewritten has none."""
    second = data.draw(st.integers(1, 70))
    first = data.draw(st.integers(1, second))
    leaves = _leaves(second)
    old, new = tree_root(leaves[:first]), tree_root(leaves)
    proof = consistency_proof(leaves, first, second)
    verify_consistency(first=first, second=second, first_root=old, second_root=new, proof=proof)

    rewritten = list(leaves)
    rewritten[data.draw(st.integers(0, first - 1))] = leaf_hash(b"rewritten")
    forged = consistency_proof(rewritten, first, second)
    for hashes in (proof, forged):
        with pytest.raises(ProofError):
            verify_consistency(
                first=first,
                second=second,
                first_root=old,
                second_root=tree_root(rewritten),
                proof=hashes,
            )
    for changed in (proof[:-1], [*proof, leaf_hash(b"more")]):
        if changed != proof:
            with pytest.raises(ProofError):
                verify_consistency(
                    first=first, second=second, first_root=old, second_root=new, proof=changed
                )


@given(st.integers(0, 200))
def test_frontier_survives_the_database_column(size: int) -> None:
    """A stored frontier comes back equal, and goes on to the same roots."""
    frontier = Frontier()
    for leaf in _leaves(size):
        frontier = frontier.append(leaf)
    again = Frontier.from_bytes(frontier.to_bytes())
    assert again == frontier
    assert again.append(LEAVES[0]).root() == tree_root([*_leaves(size), LEAVES[0]])


@pytest.mark.parametrize("stored", [b"", b"\0" * 7, b"\0" * 9, b"\0" * 7 + b"\3" + b"x" * 32])
def test_frontier_of_damaged_column_is_refused(stored: bytes) -> None:
    """A column whose hashes do not fit its size is refused."""
    with pytest.raises(ProofError, match="stored frontier"):
        Frontier.from_bytes(stored)


def test_proofs_out_of_range_are_refused() -> None:
    """There is no proof of a leaf or a size that the tree does not have."""
    with pytest.raises(ProofError, match="no leaf 8"):
        inclusion_proof(LEAVES, 8)
    for first, second in ((0, 3), (4, 3), (3, 9)):
        with pytest.raises(ProofError, match="no consistency proof"):
            consistency_proof(LEAVES, first, second)
    with pytest.raises(ProofError, match="two different trees"):
        verify_consistency(first=2, second=2, first_root=LEAVES[0], second_root=LEAVES[1], proof=[])


def test_inclusion_of_an_odd_length_hash_is_refused() -> None:
    """A 'hash' of another length can't pose as a node."""
    with pytest.raises(ProofError, match="expected 32"):
        verify_inclusion(leaf=b"x" * 64, index=0, size=1, proof=[], root=LEAVES[0])
