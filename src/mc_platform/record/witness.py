"""This region as a witness of other logs (C2SP tlog-witness): it cosigns what continues what it cosigned.

Of each log it keeps the last checkpoint that it cosigned, with that cosignature: in the database, for
all replicas, and outside of it (`Memory`), as a database can be restored from an older disk or changed
by who owns it. The larger of the two counts. A kept note that its own key did not cosign is none:
who owns the database cannot write one. The new note is kept in both before its cosignature leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.ledger.checkpoint import (
    Checkpoint,
    CheckpointError,
    parse_checkpoint,
    split_note,
    verify_note,
)
from mc_contract.ledger.cosignature import (
    COSIGNATURE,
    VerifierKey,
    cosign,
    cosignatures,
    lines_of,
)
from mc_contract.ledger.merkle import ProofError, verify_consistency
from mc_platform.errors import (
    Inconsistent,
    LedgerDamaged,
    NotFound,
    NotTrusted,
    OtherSize,
    Unavailable,
)
from mc_platform.ports import Clock
from mc_platform.record.checkpoints import Memory
from mc_platform.record.witness_wire import Submission, read_submission

_log = structlog.get_logger()


class WitnessTurn(Protocol):
    """What the database keeps of one log, while nobody else of the region changes it."""

    note: str | None
    """The last note that was cosigned."""

    async def keep(self, size: int, note: str) -> None:
        """Keep another in its place, once the turn ends.

        Raises:
            Unavailable: the database does not answer.
        """


class WitnessStore(Protocol):
    """Where a witness keeps what it cosigned. Behind it: PostgreSQL; memory in tests."""

    def turn(self, key_id: str, origin: str) -> AbstractAsyncContextManager[WitnessTurn]:
        """Wait for the turn; what was kept in it stands when it ends without an error.

        Raises:
            Unavailable: the database does not answer, or others hold the turn for too long.
        """


@dataclass(frozen=True, slots=True)
class _Kept:
    note: str
    checkpoint: Checkpoint
    at: datetime


class LogWitness:
    """Cosigns checkpoints of the logs that it knows.

    Args:
        name: The cosigner's, in its signature lines.
        key: Of this purpose alone.
        logs: Verifier keys by origin; several of one log while its key is being changed.
        memory: Of one log, outside of the database.
        look_again: Asked where a log is not among these: all that are known now. The next epoch of a region that was
            restored is one, and must not wait for a restart.
    """

    def __init__(
        self,
        *,
        name: str,
        key: Ed25519PrivateKey,
        logs: Mapping[str, Sequence[VerifierKey]],
        store: WitnessStore,
        memory: Callable[[str], Memory],
        clock: Clock,
        look_again: Callable[[], Mapping[str, Sequence[VerifierKey]]] | None = None,
    ) -> None:
        self._look_again = look_again
        self.own = VerifierKey(name, COSIGNATURE, key.public_key())
        self._key = key
        self._logs = logs
        self._store = store
        self._memory = memory
        self._memories: dict[str, Memory] = {}
        self._clock = clock

    async def add_checkpoint(self, body: bytes) -> str:
        """The cosignature's line for a request's body.

        Raises:
            BadRequest: it is not in the protocol's form.
            NotFound: the log is not one of those that are witnessed here.
            NotTrusted: none of the log's keys signed the checkpoint.
            OtherSize: the last checkpoint that was cosigned has another size, or another root.
            Inconsistent: the proof does not show that the log only grew.
            LedgerDamaged: what was kept cannot be used; nothing is cosigned until it is mended.
            Unavailable: it cannot be kept now.
        """
        asked = read_submission(body)
        origin = asked.checkpoint.origin
        if origin not in self._logs and self._look_again is not None:
            self._logs = self._look_again()
        keys = self._logs.get(origin)
        if keys is None:
            raise NotFound(
                "this log is not witnessed here", hint="its key must stand in MC_WITNESSES_FILE"
            )
        signed_by = _signers(asked.note, keys)
        if not signed_by:
            raise NotTrusted("no key that is known for this log signed the checkpoint")
        if origin not in self._memories:
            self._memories[origin] = self._memory(origin)
        memory = self._memories[origin]
        async with self._store.turn(self.own.id.hex(), origin) as turn:
            remembered = await memory.last()
            last = self._latest(origin, turn.note, remembered)
            self._require_continued(asked, last)
            line = self._cosigned(asked, last)
            if last is None or asked.checkpoint.size > last.checkpoint.size:
                note = "".join([asked.text, "\n", *lines_of(asked.note, signed_by), line])
                if not await memory.keep(note, after=remembered):
                    raise Unavailable("another process has cosigned in between")
                await turn.keep(asked.checkpoint.size, note)
        return line

    def _cosigned(self, asked: Submission, last: _Kept | None) -> str:
        # A clock that went back would date a larger tree before a smaller one
        at_s = int(self._clock().timestamp())
        if last is not None:
            at_s = max(at_s, int(last.at.timestamp()))
        return cosign(asked.text, self.own.name, self._key, at_s)

    def _latest(self, origin: str, *notes: str | None) -> _Kept | None:
        known = [self._kept(origin, note) for note in notes if note is not None]
        roots: dict[int, bytes] = {}
        for kept in known:
            size, root = kept.checkpoint.size, kept.checkpoint.root
            if roots.setdefault(size, root) != root:
                raise _unusable(origin, f"two different trees of size {size} were cosigned here")
        return max(known, key=_size, default=None)

    def _kept(self, origin: str, note: str) -> _Kept:
        try:
            found = cosignatures(note, [self.own])
            checkpoint = parse_checkpoint(split_note(note)[0])
        except CheckpointError as error:
            raise _unusable(origin, error.message) from error
        if not found or checkpoint.origin != origin:
            raise _unusable(origin, "this witness did not cosign it")
        return _Kept(note, checkpoint, found[0].at)

    def _require_continued(self, asked: Submission, last: _Kept | None) -> None:
        known = last.checkpoint if last else Checkpoint(asked.checkpoint.origin, 0, b"")
        new = asked.checkpoint
        if asked.old != known.size:
            raise OtherSize(
                f"the last checkpoint that was cosigned has size {known.size}", known.size
            )
        if asked.old == 0:
            if asked.proof:
                raise Inconsistent("a proof from size 0 must be empty")
            return
        if new.size == known.size and new.root != known.root:
            # Two trees of one size, each signed by the log: nobody but the log's key can make these
            _log.error("witnessed_log_forked", cosigned=last and last.note, refused=asked.note)
            raise OtherSize(
                f"another tree of size {known.size} was cosigned: the log forked", known.size
            )
        try:
            verify_consistency(
                first=known.size,
                second=new.size,
                first_root=known.root,
                second_root=new.root,
                proof=asked.proof,
            )
        except ProofError as error:
            # A warning: whoever has an old checkpoint can send it with a proof that is none
            _log.warning(
                "witnessed_log_not_continued",
                origin=new.origin,
                size=new.size,
                root=new.root.hex(),
                cosigned_size=known.size,
                cosigned_root=known.root.hex(),
                reason=error.message,
            )
            raise Inconsistent(
                f"the log of {new.size} entries is not shown to begin with the {known.size} that "
                f"were cosigned: {error.message}"
            ) from error


def memory_name(key: VerifierKey, origin: str) -> str:
    """A file's name for what this key cosigned of a log: its origin is a stranger's text."""
    return f"witness-{key.id.hex()}-{hashlib.sha256(origin.encode()).hexdigest()[:16]}"


def _size(kept: _Kept) -> int:
    return kept.checkpoint.size


def _signers(note: str, keys: Sequence[VerifierKey]) -> list[VerifierKey]:
    found = []
    for key in keys:
        try:
            verify_note(note, {key.name: key.public})
        except CheckpointError:
            continue
        found.append(key)
    return found


def _unusable(origin: str, why: str) -> LedgerDamaged:
    return LedgerDamaged(
        f"what was cosigned last of {origin} cannot be used: {why}",
        hint="nothing of it is cosigned until that is mended; docs/how-to/witnesses.md",
    )
