"""The ledger's Merkle tree: RFC 6962 hashing, append-only frontier, and both proofs.

Pure: it holds no leaves of its own. A writer keeps a `Frontier` (a few hashes) beside its rows; a
prover reads leaf hashes back and asks for a proof; an auditor checks a proof with nothing else.

Proof *verification* follows RFC 9162 sections 2.1.3.2 and 2.1.4.2 (the same tree as RFC 6962, with
the checks spelled out). It raises rather than returning a bool, so that a result can't be ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mc_contract.errors import McError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
_SIZE_BYTES = 8
_MAX_SIZE = 2**63 - 1  # a PostgreSQL bigint


class ProofError(McError):
    """A Merkle proof, or a stored frontier, does not hold."""

    code = "merkle-proof"


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def folded(hashes: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees, the largest first (of nothing: SHA-256 of nothing)."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


@dataclass(frozen=True, slots=True)
class Frontier:
    """The compact range [0, size): roots of its perfect subtrees, the largest first.

    There is one hash for each set bit of `size`, so 64 at most: it fits in a row, and it is all
    that is needed to append and to compute the root.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """The frontier after one more leaf hash; at most log2(size) hashes of work.

        `leaf` is a leaf *hash*; its length is not checked.
        """
        hashes = self.hashes
        carry = self.size
        while carry & 1:
            leaf = node_hash(hashes[-1], leaf)
            hashes = hashes[:-1]
            carry >>= 1
        return Frontier(self.size + 1, (*hashes, leaf))

    def root(self) -> bytes:
        """The tree's root hash."""
        return folded(self.hashes)

    def to_bytes(self) -> bytes:
        """For a database column: the size (8 bytes, big-endian), then the hashes."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Frontier:
        """What `to_bytes` wrote.

        Raises:
            ProofError: when the number of hashes does not fit the size.
        """
        size = int.from_bytes(stored[:_SIZE_BYTES], "big")
        rest = stored[_SIZE_BYTES:]
        if len(stored) < _SIZE_BYTES or size > _MAX_SIZE:
            raise ProofError(f"stored frontier has {len(stored)} bytes and size {size}")
        if len(rest) != size.bit_count() * HASH_BYTES:
            raise ProofError(
                f"stored frontier of size {size} needs {size.bit_count()} hashes of {HASH_BYTES} "
                f"bytes, got {len(rest)} bytes"
            )
        hashes = (rest[at : at + HASH_BYTES] for at in range(0, len(rest), HASH_BYTES))
        return cls(size, tuple(hashes))


def tree_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root hash over all `leaf_hashes`, in order."""
    frontier = Frontier()
    for leaf in leaf_hashes:
        frontier = frontier.append(leaf)
    return frontier.root()


def verify_inclusion(
    *, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf hash `leaf` stands at `index` in the tree of `size` leaves with `root`.

    Raises:
        ProofError: when it does not; `root` itself must come from a verified checkpoint.
    """
    _refuse_odd_hashes([leaf, root, *proof])
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of size {size}")
    computed = leaf
    for sibling, on_left in _climb(index, size - 1, proof):
        computed = node_hash(sibling, computed) if on_left else node_hash(computed, sibling)
    if computed != root:
        raise ProofError(f"leaf {index} does not lead to the root of the tree of size {size}")


def verify_consistency(
    *, first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree (`second`, `second_root`) only appended to (`first`, `first_root`).

    Raises:
        ProofError: when it does not, or `first` is 0 (anything is consistent with an empty tree,
            so a proof of that would say nothing).
    """
    _refuse_odd_hashes([first_root, second_root, *proof])
    if not 1 <= first <= second:
        raise ProofError(f"no consistency proof from size {first} to {second}")
    if first == second:
        if proof or first_root != second_root:
            raise ProofError(f"two different trees of the same size {first}")
        return
    path = list(proof)
    if first & (first - 1) == 0:  # a power of two: the old root is itself the first hash
        path.insert(0, first_root)
    if not path:
        raise ProofError(f"consistency proof from {first} to {second} is empty")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling, on_left in _climb(node, last, path[1:]):
        if on_left:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    if old != first_root:
        raise ProofError(f"the proof does not lead to the old root of size {first}")
    if new != second_root:
        raise ProofError(f"the proof does not lead to the new root of size {second}")


def _climb(node: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each sibling on the way from `node` to the root, and whether it stands on the left.

    `last` is the last node of the same level. A proof of the wrong length is refused.
    """
    for sibling in proof:
        if last == 0:
            raise ProofError(f"the proof has {len(proof)} hashes, too many for the tree's size")
        on_left = bool(node & 1) or node == last
        if on_left:
            while not node & 1 and node:  # levels where this node has no sibling
                node, last = node >> 1, last >> 1
        yield sibling, on_left
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ProofError(f"the proof has {len(proof)} hashes, too few for the tree's size")


def _refuse_odd_hashes(hashes: Sequence[bytes]) -> None:
    # A leaf of 65 bytes could otherwise pose as an inner node's two children
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ProofError(f"a hash has {len(value)} bytes, expected {HASH_BYTES}")
