"""Asking witnesses to cosign this region's checkpoints, and the newest that they have cosigned.

Every interval one checkpoint of the log is submitted to each witness that has not cosigned as much
(C2SP tlog-witness). Each replica looks, and whoever looks first asks; two that ask at once are told so by
the witness (409) and do no harm. Nothing waits for a witness: not the signer, no request, no probe.
A cosignature is verified before it is stored. A witness that knows a larger log, or another one, is
an alarm: the signer's own memory may have been lost with the database, a witness's was not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

import structlog

from mc_contract.ledger.checkpoint import (
    Checkpoint,
    CheckpointError,
    parse_checkpoint,
    split_note,
)
from mc_contract.ledger.cosignature import Cosigned, VerifierKey, cosignatures, lines_of
from mc_platform.errors import NotFound, PeerFailed
from mc_platform.model.reply import Reply
from mc_platform.observe import metrics
from mc_platform.ports import Clock
from mc_platform.record.witness_wire import SIZE_TYPE, read_size, submission_body

TIMEOUT_S = 5.0
MOST_ANSWER_BYTES = 16 * 1024
_CLOCKS_DIFFER = timedelta(minutes=5)
_KEPT_S = 1.0
_OK, _CONFLICT, _UNPROCESSABLE, _FAILED, _MANY = 200, 409, 422, 500, 429
_log = structlog.get_logger()


class Outcome(Enum):
    """How a submission ended; the `status` of `mc_ledger_cosignatures_total`."""

    cosigned = "cosigned"
    forked = "forked"  # it cosigned a log of which this one is no continuation
    set_back = "set_back"  # it cosigned more than this log has
    invalid = "invalid"  # it answers with no cosignature that verifies
    refused = "refused"  # it does not take the request: unknown log, unknown key
    unreachable = "unreachable"  # it does not answer, or not now

    @property
    def alarms(self) -> bool:
        """Whether it speaks against the log."""
        return self in (Outcome.forked, Outcome.set_back)


@dataclass(frozen=True, slots=True)
class Witness:
    """Who cosigns.

    Attributes:
        name: Of the configuration, in metrics and logs.
        url: The submission prefix.
        required: Whether a checkpoint that it has not cosigned is none that the region publishes.
    """

    name: str
    url: str
    key: VerifierKey
    required: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of the log a witness has cosigned.

    Attributes:
        size: Of the newest checkpoint that it cosigned; 0: none.
        waiting_since: When the oldest checkpoint that is larger was stored; None: there is none.
        note: What it cosigned, as it is kept.
    """

    size: int
    waiting_since: datetime | None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class CosignedNote:
    """A checkpoint with its cosignatures, of one size; `witnesses` are names of the configuration."""

    size: int
    note: str
    witnesses: frozenset[str]


class CosignedLog(Protocol):
    """Where cosignatures are kept. All raise `Unavailable`."""

    async def standing(self, witnesses: Sequence[str]) -> Mapping[str, Standing]:
        """How much each of them has cosigned."""

    async def asked_within(self, age_s: float) -> bool:
        """Whether any replica has stored a cosignature so lately."""

    async def store_cosigned(self, size: int, witness: str, note: str, at: datetime) -> None:
        """Keep a note that the log signed and one witness cosigned; another's of the same stays."""

    async def cosigned(self, limit: int) -> Sequence[CosignedNote]:
        """The newest sizes with all their cosignatures, the greatest first."""


class Cosigner:
    """Has checkpoints cosigned.

    Args:
        checkpoint: Signs the log as it is now, in three lines.
        proof: A consistency proof from one size to a larger one.
        post: Sends a request's body to a URL; bounded in time and size.
    """

    def __init__(
        self,
        witnesses: Iterable[Witness],
        *,
        checkpoint: Callable[[], Awaitable[str]],
        proof: Callable[[int, int], Awaitable[list[bytes]]],
        store: CosignedLog,
        post: Callable[[str, bytes], Awaitable[Reply]],
        clock: Clock,
        interval_s: float,
    ) -> None:
        self._witnesses = tuple(witnesses)
        self._checkpoint = checkpoint
        self._proof = proof
        self._store = store
        self._post = post
        self._clock = clock
        self._interval_s = interval_s
        self._outcomes: dict[str, Outcome] = {}
        self._alarmed_at: dict[str, int] = {}  # what it had cosigned when it spoke against the log
        self._doubted_since: dict[str, datetime] = {}  # that a row says what it has not cosigned
        self._required = frozenset(each.name for each in self._witnesses if each.required)
        self._newest: tuple[float, CosignedNote | None] | None = None
        self._turn = asyncio.Lock()
        for witness in self._witnesses:
            metrics.begin_witness(witness.name, [each.value for each in Outcome])

    async def look(self) -> None:
        """One round: submit the log as it is now to whoever has not cosigned as much.

        Raises:
            LedgerDamaged, Unavailable: the log cannot be signed or read.
        """
        standing = await self._standing()
        self._show(standing)
        if await self._store.asked_within(self._interval_s / 2):
            return
        note = await self._checkpoint()
        size = _checkpoint_of(note).size
        late = [each for each in self._witnesses if standing[each.name].size < size]
        if not late:
            return
        ends = [self._submit(each, note, standing[each.name].size) for each in late]
        for witness, (outcome, why) in zip(late, await asyncio.gather(*ends), strict=True):
            metrics.ledger_cosignatures.labels(witness.name, outcome.value).inc()
            if outcome.alarms:
                self._alarmed_at[witness.name] = standing[witness.name].size
            self._tell(witness, outcome, why)
        self._show(await self._standing())

    async def _standing(self) -> dict[str, Standing]:
        """How much each has cosigned, by its own signature: who owns the database can write any row.

        A row by which it would have cosigned more would else end both the asking and the alert.
        """
        found = dict(await self._store.standing([witness.name for witness in self._witnesses]))
        for witness in self._witnesses:
            kept = found[witness.name]
            if kept.note is None or _cosigned_at(witness, kept) is not None:
                self._doubted_since.pop(witness.name, None)
                continue
            if witness.name not in self._doubted_since:
                _log.warning("cosigned_row_not_by_witness", witness=witness.name, size=kept.size)
            since = self._doubted_since.setdefault(witness.name, self._clock())
            found[witness.name] = Standing(0, since)
        return found

    async def newest(self) -> str:
        """The newest checkpoint that each required witness, or if none is required any, has cosigned.

        Raises:
            NotFound: there is none.
            Unavailable: the database does not answer.
        """
        async with self._turn:
            now = time.monotonic()
            if self._newest is None or now - self._newest[0] > _KEPT_S:
                found = await self._store.cosigned(limit=100)
                fits = (one for one in found if self._required <= one.witnesses)
                self._newest = now, next(fits, None)
            note = self._newest[1]
        if note is None:
            raise NotFound(
                "no checkpoint has been cosigned by the required witnesses yet",
                hint="mc_ledger_cosignatures_total and the log say why; docs/how-to/witnesses.md",
            )
        return note.note

    async def _submit(self, witness: Witness, note: str, known: int) -> tuple[Outcome, str]:
        """How it ended, and why in words; a cosignature is stored."""
        checkpoint = _checkpoint_of(note)
        try:
            reply = await self._ask(witness, note, checkpoint, known)
            theirs = _size_of(reply)
            if theirs is not None and theirs > checkpoint.size:
                # Another replica may have submitted more since; a log that was set back has less for good
                note = await self._checkpoint()
                checkpoint = _checkpoint_of(note)
            if theirs is not None and theirs > checkpoint.size:
                return Outcome.set_back, (
                    f"it has cosigned {theirs} entries, this log has {checkpoint.size}"
                )
            if theirs is not None and theirs != known:
                known = theirs
                reply = await self._ask(witness, note, checkpoint, known)
            return await self._taken(witness, note, checkpoint, known, reply)
        except PeerFailed as error:
            return Outcome.unreachable, error.message

    async def _ask(self, witness: Witness, note: str, checkpoint: Checkpoint, known: int) -> Reply:
        proof = await self._proof(known, checkpoint.size) if 0 < known < checkpoint.size else ()
        return await self._post(
            f"{witness.url.rstrip('/')}/add-checkpoint", submission_body(known, proof, note)
        )

    async def _taken(
        self, witness: Witness, note: str, checkpoint: Checkpoint, known: int, reply: Reply
    ) -> tuple[Outcome, str]:
        if reply.status == _UNPROCESSABLE or (
            reply.status == _CONFLICT and _size_of(reply) == known == checkpoint.size
        ):
            return Outcome.forked, (
                f"it cosigned {known} entries with which this log of {checkpoint.size} does not begin"
            )
        if reply.status in (_CONFLICT, _MANY) or reply.status >= _FAILED:
            return Outcome.unreachable, f"it answers {reply.status}"
        if reply.status != _OK:
            return Outcome.refused, f"it answers {reply.status}: does it know this log and its key?"
        try:
            cosigned, found = _with_cosignature(note, reply.body, witness.key)
        except CheckpointError as error:
            return Outcome.invalid, error.message
        if found.at > self._clock() + _CLOCKS_DIFFER:
            return Outcome.invalid, f"its cosignature is of {found.at.isoformat()}, in the future"
        await self._store.store_cosigned(checkpoint.size, witness.name, cosigned, found.at)
        return Outcome.cosigned, ""

    def _tell(self, witness: Witness, outcome: Outcome, why: str) -> None:
        before, self._outcomes[witness.name] = self._outcomes.get(witness.name), outcome
        if outcome is before:
            return
        if outcome is Outcome.cosigned:
            if before is not None:
                _log.info("witness_cosigns_again", witness=witness.name)
            return
        tell = _log.error if outcome.alarms or outcome is Outcome.invalid else _log.warning
        tell("checkpoint_not_cosigned", witness=witness.name, status=outcome.value, reason=why)

    def _show(self, standing: Mapping[str, Standing]) -> None:
        for witness in self._witnesses:
            alarmed_at = self._alarmed_at.get(witness.name, standing[witness.name].size)
            if standing[witness.name].size > alarmed_at:  # another replica may have asked it
                del self._alarmed_at[witness.name]
            alarms = witness.name in self._alarmed_at
            metrics.ledger_witness_conflict.labels(witness.name).set(alarms)
            at = _cosigned_at(witness, standing[witness.name])
            metrics.ledger_cosigned_at.labels(witness.name).set(at.timestamp() if at else 0)
            since = standing[witness.name].waiting_since
            gauge = metrics.ledger_uncosigned_since.labels(
                witness.name, "yes" if witness.required else "no"
            )
            gauge.set(since.timestamp() if since else 0)


def merged(notes: Sequence[str]) -> str:
    """One note of several with the same text and the same log's signature, first of all lines."""
    text, lines = split_note(notes[0])
    for note in notes[1:]:
        lines += [line for line in split_note(note)[1] if line not in lines]
    return "\n".join([text, *lines, ""])


def _checkpoint_of(note: str) -> Checkpoint:
    return parse_checkpoint(split_note(note)[0])


def _cosigned_at(witness: Witness, standing: Standing) -> datetime | None:
    """When the witness cosigned what is kept of it; None: it did not."""
    if standing.note is None:
        return None
    try:
        found = cosignatures(standing.note, [witness.key])
        return (
            found[0].at if found and _checkpoint_of(standing.note).size == standing.size else None
        )
    except CheckpointError:
        return None


def _size_of(reply: Reply) -> int | None:
    """The size of the last checkpoint that it cosigned, if that is its answer."""
    if reply.status != _CONFLICT or reply.content_type != SIZE_TYPE:
        return None
    return read_size(reply.body)


def _with_cosignature(note: str, lines: bytes, witness: VerifierKey) -> tuple[str, Cosigned]:
    """The note with this witness's lines of an answer, and what they say.

    Raises:
        CheckpointError: the answer has no line of it, or one that does not verify.
    """
    try:
        joined = note + lines.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError("its answer is not UTF-8") from error
    # Ours are those that were sent: of each key that signs, amid a rotation two. Of its own it gets one,
    # or with many valid ones it could fill the note that other witnesses' stand in
    own = [*(f"{line}\n" for line in split_note(note)[1]), *lines_of(joined, [witness])]
    whole = "".join([split_note(note)[0], "\n", *own])
    found = cosignatures(whole, [witness])
    if not found:
        raise CheckpointError(f"its answer has no cosignature of {witness.name}")
    return whole, found[0]
