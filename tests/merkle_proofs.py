"""Proofs from all leaf hashes, after RFC 9162's definitions: what the service makes from tiles."""

from __future__ import annotations

from collections.abc import Sequence

from mc_contract.ledger.merkle import ProofError, tree_root


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, leaves): the audit path, from the leaf's sibling up to the root's child.

    Raises:
        ProofError: when there is no leaf `index`.
    """
    if not 0 <= index < len(leaf_hashes):
        raise ProofError(f"no leaf {index} in a tree of size {len(leaf_hashes)}")
    path: list[bytes] = []
    low, high = 0, len(leaf_hashes)
    while high - low > 1:
        split = low + _split(high - low)
        if index < split:
            path.append(tree_root(leaf_hashes[split:high]))
            high = split
        else:
            path.append(tree_root(leaf_hashes[low:split]))
            low = split
    path.reverse()
    return path


def consistency_proof(leaf_hashes: Sequence[bytes], first: int, second: int) -> list[bytes]:
    """PROOF(first, leaves[:second]): that the tree of `first` leaves is a prefix of `second`'s.

    Raises:
        ProofError: unless 1 <= first <= second <= the number of leaves.
    """
    if not 1 <= first <= second <= len(leaf_hashes):
        raise ProofError(
            f"no consistency proof from size {first} to {second} in a tree of size "
            f"{len(leaf_hashes)}"
        )
    proof: list[bytes] = []
    low, high = 0, second
    while first != high:
        split = low + _split(high - low)
        if first <= split:
            proof.append(tree_root(leaf_hashes[split:high]))
            high = split
        else:
            proof.append(tree_root(leaf_hashes[low:split]))
            low = split
    if low > 0:  # the old tree is no perfect left subtree, so its last piece is not known yet
        proof.append(tree_root(leaf_hashes[low:high]))
    proof.reverse()
    return proof


def _split(size: int) -> int:
    """The largest power of two below `size`, for size above 1."""
    return 1 << ((size - 1).bit_length() - 1)
