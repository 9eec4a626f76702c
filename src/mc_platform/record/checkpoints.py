"""Signed checkpoints over the region's log, on demand and at an interval, by a signer with memory.

Any replica may sign: the head row says what the log is, the key is the region's. Who owns the
database can change both the log and its head. So the signer keeps its last note outside of the
database (`Memory`), and signs a head only with a consistency proof (RFC 6962) from that note, and
from the newest stored one, to the head. Where there is none it refuses, and while it refuses
nothing is recorded (`require_sound`): what would be recorded would belong to another history.

What is remembered is always read before the head: then the head of an honest log is never smaller.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.ledger.checkpoint import (
    Checkpoint,
    CheckpointError,
    sign_checkpoint,
    verify_checkpoint,
)
from mc_contract.ledger.entry import SIGNER_REFUSES
from mc_contract.ledger.merkle import Frontier, ProofError, verify_consistency
from mc_platform.errors import BadRequest, LedgerDamaged, Unavailable
from mc_platform.observe import metrics

_TRIES = 20  # other replicas that sign in between
_HINT = (
    "nothing is signed or recorded until the log continues what was signed; "
    "docs/explanation/ledger.md, The signer refuses"
)
_log = structlog.get_logger()


def ledger_origin(region: str) -> str:
    """The log's identity, as the first line of its checkpoints and its key's name."""
    return f"mc-platform.example.com/ledger/{region}"


class Memory(Protocol):
    """The signer's last note, outside of the database. Behind it: a file; this process alone."""

    durable: bool
    """Whether it outlives the process."""

    async def last(self) -> str | None:
        """The last note that was kept; None if none ever was.

        Raises:
            LedgerDamaged: it is there and cannot be read.
        """

    async def keep(self, note: str, *, after: str | None) -> bool:
        """Keep a note durably; False if the last one is no longer `after`: another has signed.

        Raises:
            LedgerDamaged: it cannot be kept.
            Unavailable: another process holds it for long.
        """


class ProcessMemory:
    """Forgets with the process; what is stored in the database is then all that is known."""

    durable = False

    def __init__(self) -> None:
        self._note: str | None = None

    async def last(self) -> str | None:
        return self._note

    async def keep(self, note: str, *, after: str | None) -> bool:
        if self._note != after:
            return False
        self._note = note
        return True


class Log(Protocol):
    """What the signer reads and writes of the region's log. All raise `Unavailable`."""

    async def head(self) -> Frontier:
        """The log as it is now."""

    async def newest_checkpoint(self) -> str | None:
        """The stored note of the greatest size."""

    async def store_checkpoint(self, size: int, note: str) -> None:
        """Keep a signed note in the database."""


@dataclass(frozen=True, slots=True)
class _Signed:
    """A note of this log that a key of ours signed, and what it says.

    Attributes:
        now: Whether the active key signed it; if not, it is signed again.
    """

    note: str
    checkpoint: Checkpoint
    now: bool = True


class CheckpointKeeper:
    """Signs the head, and stores a checkpoint whenever the log has grown.

    Args:
        keys: The active one first. All of them sign, so that whoever trusts only the one before
            still verifies what is signed after a rotation.
        proof: A consistency proof from one size to a larger one, from what the database holds.
        on_rebuilt: Told what the memory was rebuilt from, if it was lost: it should outlive the
            process, and was empty although the log is not.
    """

    def __init__(
        self,
        *,
        region: str,
        keys: Sequence[Ed25519PrivateKey],
        log: Log,
        proof: Callable[[int, int], Awaitable[list[bytes]]],
        memory: Memory,
        interval_s: float,
        on_rebuilt: Callable[[Checkpoint], Awaitable[None]] | None = None,
    ) -> None:
        self._origin = ledger_origin(region)
        self._keys = tuple(keys)
        self._log = log
        self._proof = proof
        self._memory = memory
        self._interval_s = interval_s
        self._on_rebuilt = on_rebuilt
        self._turn = asyncio.Lock()
        self._rounds = self._answered = 0
        self._latest: _Signed | None = None
        self._proven: deque[Checkpoint] = deque(maxlen=64)
        self._stored_now = 0  # the newest in the database, as last seen
        self._stored_most = 0  # the newest that was ever there, as far as is known
        self._rebuilt_from: Checkpoint | None = None
        self.refusal: str | None = None

    def renew(self, keys: Sequence[Ed25519PrivateKey]) -> None:
        """Sign with other keys from now on."""
        self._keys = tuple(keys)

    async def current(self) -> str:
        """A checkpoint note over the log as it is now, or as it was after this was called.

        Raises:
            LedgerDamaged: the log is not a continuation of what was signed.
            Unavailable: the log cannot be read.
        """
        return (await self._sign()).note

    async def plain(self) -> str:
        """The same without our extension line, for witnesses: some take three lines only.

        Raises:
            LedgerDamaged, Unavailable: as `current`.
        """
        checkpoint = replace((await self._sign()).checkpoint, previous=None)
        return sign_checkpoint(checkpoint, self._origin, *self._keys)

    def require_sound(self) -> None:
        """Nothing may be recorded while the signer refuses.

        Raises:
            LedgerDamaged: with the reason.
        """
        if self.refusal is not None:
            raise LedgerDamaged(self.refusal, hint=_HINT)

    async def begin(self) -> None:
        """Look before anything is recorded; a refusal is kept and told, not raised.

        Raises:
            Unavailable: the log cannot be read.
        """
        with suppress(LedgerDamaged):
            await self._sign()

    async def run(self) -> None:
        """Store a checkpoint each interval in which the log grew; until cancelled."""
        while True:
            try:
                await self.store()
            except Unavailable as error:
                if self.refusal is None:
                    _log.warning("checkpoint_postponed", reason=error.message)
            await asyncio.sleep(self._interval_s)

    async def store(self) -> None:
        """Sign, hold it against what others have stored, and store it if it is larger.

        Raises:
            LedgerDamaged, Unavailable: as `current`.
        """
        signed = await self._sign()
        if self._rebuilt_from is not None and self._on_rebuilt is not None:
            await self._on_rebuilt(self._rebuilt_from)
            self._rebuilt_from = None
        size = signed.checkpoint.size
        if size > self._stored_now:
            await self._log.store_checkpoint(size, signed.note)
            self._stored_now = size
            self._stored_most = max(self._stored_most, size)

    async def _sign(self) -> _Signed:
        arrived = self._rounds
        async with self._turn:
            if self._answered > arrived and self._latest is not None and not self.refusal:
                return self._latest  # of a round that began after this caller came
            self._rounds += 1
            try:
                self._latest = await self._round()
            except LedgerDamaged as error:
                self._tell(error.message)
                raise
            self._tell(None)
            self._answered = self._rounds
            return self._latest

    async def _round(self) -> _Signed:
        for _ in range(_TRIES):
            last = await self._memory.last()
            remembered = self._remembered(last)
            stored = await self._newest_stored()
            head = await self._log.head()
            now = Checkpoint(self._origin, head.size, head.root())
            known = (item.checkpoint for item in (remembered, self._latest, stored) if item)
            for checkpoint in dict.fromkeys(known):
                await self._require_continued(checkpoint, now)
            if remembered is not None and remembered.checkpoint == now and remembered.now:
                return remembered
            signed = self._note_of(now, remembered)
            if await self._memory.keep(signed.note, after=last):
                if last is None and self._latest is None:
                    self._tell_first(now, stored)
                self._proven.append(now)
                return signed
        raise Unavailable(f"other processes signed {_TRIES} times in between")

    def _remembered(self, last: str | None) -> _Signed | None:
        remembered = None if last is None else self._own(last)
        if last is not None and remembered is None:
            raise _refused("its state file holds no checkpoint of this log signed by this key")
        return remembered

    async def _newest_stored(self) -> _Signed | None:
        note = await self._log.newest_checkpoint()
        stored = None if note is None else self._own(note)
        if note is not None and stored is None:
            # `audit verify` names it; to refuse would let a planted row stop the platform
            _log.error("stored_checkpoint_unusable", reason="this key did not sign it")
        self._stored_now = stored.checkpoint.size if stored else 0
        self._stored_most = max(self._stored_most, self._stored_now)
        return stored

    def _own(self, note: str) -> _Signed | None:
        active, *former = (key.public_key() for key in self._keys)
        try:
            checkpoint = verify_checkpoint(note, {self._origin: active})
            now = True
        except CheckpointError:
            try:
                checkpoint = verify_checkpoint(note, {self._origin: former})
            except CheckpointError:
                return None
            now = False
        return _Signed(note, checkpoint, now) if checkpoint.origin == self._origin else None

    async def _require_continued(self, signed: Checkpoint, now: Checkpoint) -> None:
        """See that the log of `now` begins with what was signed.

        Raises:
            LedgerDamaged: it does not, or that cannot be proven.
        """
        if signed.size == 0 or (signed in self._proven and signed != self._proven[-1]):
            return  # one that was proven before begins the last one that was proven
        if signed.size > now.size:
            raise _refused(
                f"{signed.size} entries were signed, the log has {now.size}: it was set back"
            )
        try:
            verify_consistency(
                first=signed.size,
                second=now.size,
                first_root=signed.root,
                second_root=now.root,
                proof=await self._proof(signed.size, now.size) if signed.size < now.size else (),
            )
        except ProofError as error:
            raise _refused(
                f"the log of {now.size} entries does not begin with the {signed.size} that were "
                f"signed ({error.message}): it was rewritten"
            ) from error
        except (LedgerDamaged, BadRequest) as error:
            raise _refused(f"consistency cannot be proven: {error.message}") from error

    def _note_of(self, now: Checkpoint, remembered: _Signed | None) -> _Signed:
        told = remembered.checkpoint.previous if remembered else None
        self._stored_most = max(self._stored_most, told or 0)
        checkpoint = replace(now, previous=self._stored_most)
        return _Signed(sign_checkpoint(checkpoint, self._origin, *self._keys), checkpoint)

    def _tell_first(self, now: Checkpoint, stored: _Signed | None) -> None:
        """This process signs for the first time, and the memory was empty."""
        if not self._memory.durable or now.size == 0:
            return
        self._rebuilt_from = stored.checkpoint if stored else now
        _log.warning(
            "signer_state_rebuilt",
            size=self._rebuilt_from.size,
            source="the newest stored checkpoint" if stored else "the head: none is stored",
            hint="expected at the first start with a state file only",
        )

    def _tell(self, refusal: str | None) -> None:
        if refusal is not None and refusal != self.refusal:
            _log.error("ledger_signer_refused", reason=refusal, hint=_HINT)
        if refusal is None and self.refusal is not None:
            _log.warning("ledger_signer_resumed")
        self.refusal = refusal
        metrics.ledger_signer_refused.set(refusal is not None)


def _refused(why: str) -> LedgerDamaged:
    return LedgerDamaged(f"{SIGNER_REFUSES}: {why}", hint=_HINT)
