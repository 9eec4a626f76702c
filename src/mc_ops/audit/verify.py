"""Verify a region's whole log over HTTP, or what can be seen of it, and say what could not.

The order: the checkpoint that the service signs now; what is to be held against it (stored and
saved checkpoints); what the service says has been archived; where to begin (the first entry, a
saved checkpoint, the end of what has been archived); one pass over the entries; and the service's
head once more. The index of archives is the service's word, and who owns the database can write
it: entries that are not read because of it leave the verdict open, unless the caller allows that.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from mc_contract.ledger.checkpoint import Checkpoint, CheckpointError, LogKeys
from mc_contract.ledger.entry import HEAD_DAMAGED, SIGNER_REFUSES, Entry
from mc_contract.ledger.epochs import Beginning
from mc_contract.ledger.export import log_origin, region_of, verify_log_checkpoint
from mc_contract.ledger.merkle import Frontier, ProofError, verify_consistency
from mc_contract.ledger.tiles import TILE_WIDTH
from mc_contract.numbers import counted
from mc_ops.audit.client import ArchiveRow, AuditClient
from mc_ops.audit.files import archived_entries
from mc_ops.audit.log_pass import Finding, Findings, LogPass, Signed
from mc_ops.audit.witnesses import Demand, Witnessed, newest_witnessed, told
from mc_ops.errors import CouldNotTell, UnusableInput

_TELL_EVERY = 100_000
_STORED_AT_ONCE = 64  # how many others may store between a replica's look and its signature
_STORED_WITHIN = timedelta(minutes=1)  # sixty times as long as the service takes
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint kept elsewhere, and the file that it was in."""

    name: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    Attributes:
        note: The checkpoint that was verified, to be saved if `verified`.
        first: The first entry that was read; those before it were not.
        unseen: What could not be looked at: the verdict is open if there is nothing worse.
        first_leaf: Entry 0 as it was read and verified; None: it was not read.
        witnessed: The cosigned checkpoint that the log was held against, if one was demanded.
    """

    region: str
    size: int
    root: str
    note: str
    first: int
    entries: int
    checkpoints: int
    findings: Sequence[Finding]
    notices: Sequence[str]
    unseen: Sequence[str]
    first_leaf: bytes | None = field(default=None, repr=False)
    witnessed: Witnessed | None = None

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong, and nothing that should have been seen was not."""
        return not self.findings and not self.unseen


def verify_log(
    client: AuditClient,
    key: LogKeys,
    *,
    since: Saved | None = None,
    known: Sequence[Saved] = (),
    archive: Path | None = None,
    allow_archived: bool = False,
    wanted: Demand | None = None,
    cosigned_since: datetime | None = None,
    say: Say = lambda _: None,
) -> Report:
    """Verify the log.

    Args:
        since: Begin there; the entries before it are taken as verified when it was saved.
        known: Further checkpoints that the log must agree with.
        archive: The folder of the files of entries that left the database.
        allow_archived: Without `archive`: that archived entries were not read does not leave the
            verdict open. Whether they exist anywhere is then not known.
        wanted: Whose cosignatures the newest cosigned checkpoint must have; the log must agree with it.
        cosigned_since: It must be newer, unless it is of the whole log.
        say: Told how far it is.

    Raises:
        CouldNotTell: the service does not answer, or not in its own form.
        NotAllowed: it refuses the credential.
        UnusableInput: a saved checkpoint is another region's.
    """
    one = _Verification(client, key, since, known, archive, say, allow_archived)
    one.look_for_cosigned(wanted)
    return _held_to(one.run(), wanted, cosigned_since)


def _held_to(report: Report, wanted: Demand | None, since: datetime | None) -> Report:
    """The report, with what witnesses should have cosigned and have not."""
    if wanted is None:
        return report
    return replace(report, findings=(*report.findings, *_unwitnessed(report, wanted, since)))


def _unwitnessed(report: Report, wanted: Demand, since: datetime | None) -> Iterator[Finding]:
    found = report.witnessed
    if found is None:
        yield Finding(
            "not-witnessed",
            f"no checkpoint has {counted(wanted.require, 'cosignature')} of the "
            f"{counted(len(wanted.witnesses), 'trusted witness')}: who has the ledger's key and its database can have rewritten it",
        )
    elif found.checkpoint.size < report.size and since is not None and found.at < since:
        yield Finding(
            "witnessed-late",
            f"entries {found.checkpoint.size} to {report.size - 1} are not covered by a cosigned "
            f"checkpoint; the newest is of {found.at:%Y-%m-%dT%H:%M:%SZ}",
            found.checkpoint.size,
        )


def verify_ended(
    client: AuditClient,
    key: LogKeys,
    beginning: Beginning,
    *,
    known: Sequence[Saved] = (),
    archive: Path | None = None,
    allow_archived: bool = False,
    wanted: Demand | None = None,
    say: Say = lambda _: None,
) -> Report:
    """Verify a log that ended with its epoch, against what the next log's first entry binds.

    Args:
        client: Of that log.
        beginning: What the first entry of the next log says; it is verified.
        known, archive, allow_archived, wanted, say: As of `verify_log`, which tells the errors, too.
    """
    ended = beginning.former
    head = Checkpoint(log_origin(ended.log), ended.size, ended.root)
    one = _Verification(client, key, None, known, archive, say, allow_archived)
    one.look_for_cosigned(wanted)
    return _held_to(one.run_ended(head, beginning), wanted, None)


@dataclass(slots=True)
class _Verification:
    """One verification; the arguments are those of `verify_log`."""

    _client: AuditClient
    _key: LogKeys
    _since: Saved | None
    _known: Sequence[Saved]
    _archive: Path | None
    _say: Say
    _allow_archived: bool
    _findings: Findings = field(default_factory=Findings)
    _stored_seen: bool = False
    _archived: int = 0  # how many entries left as files; their checkpoints are thinned out
    witnessed: Witnessed | None = None
    _refused_at: str = ""  # what is verified instead of a head that is signed now
    _first_leaf: bytes | None = None

    def look_for_cosigned(self, wanted: Demand | None) -> None:
        """Have the log held against the newest checkpoint that witnesses cosigned, if any is wanted."""
        if wanted is None:
            return
        self.witnessed = found = newest_witnessed(self._client, self._key, wanted)
        if found is not None:
            name = f"cosigned by {told(found.cosigned)}"
            self._known = [*self._known, Saved(name, found.checkpoint)]

    @property
    def _saved(self) -> list[Saved]:
        return [*self._known, *([self._since] if self._since else [])]

    def run(self) -> Report:
        try:
            note = self._client.head_note()
        except CouldNotTell as error:
            if SIGNER_REFUSES in error.message:
                return self._refused(error.message)
            if HEAD_DAMAGED not in error.message:
                raise
            self._findings.add("head-changed", f"the service signs nothing: {error.message}")
            return self._report(Checkpoint("", 0, bytes(32)), "", 0, None)
        try:
            head = verify_log_checkpoint(note, self._key)
        except CheckpointError as error:
            self._findings.add("head-unsigned", f"the service's checkpoint: {error.message}")
            return self._report(Checkpoint("", 0, bytes(32)), note, 0, None)
        return self._verified(note, head)

    def run_ended(self, head: Checkpoint, beginning: Beginning) -> Report:
        """The log whose end is bound by `beginning`; what was signed beyond it is told."""
        self._refused_at = f"bound by entry 0 of {beginning.log}"
        for saved in self._known:
            size = saved.checkpoint.size
            if size > head.size + beginning.lost:
                self._truncated(size, saved.name, head.size)
        if beginning.lost:
            self._findings.notices.append(
                f"{beginning.lost} entries of {beginning.former.log} from {head.size} on were signed "
                f"and are lost by the restore to {beginning.restored_to}, as {beginning.log} says"
            )
        self._known = [saved for saved in self._known if saved.checkpoint.size <= head.size]
        beyond = next(iter(self._client.entries(head.size)), None)
        if beyond is not None:
            self._findings.add(
                "epoch-changed",
                f"entry {beyond.index} stands after the log's end, {head.size}",
                beyond.index,
            )
        if head.size == 0:
            return self._report(head, "", 0, None)
        return self._verified("", head)

    def _refused(self, why: str) -> Report:
        """The signer refuses: hold the log against the greatest checkpoint that is known instead."""
        self._findings.add("signer-refused", f"the service signs nothing: {why}")
        head, note, self._refused_at = Checkpoint("", 0, bytes(32)), "", "stored"
        for saved in self._saved:
            if saved.checkpoint.size > head.size:
                head, self._refused_at = saved.checkpoint, saved.name
        try:
            for item in self._client.checkpoints(0):
                with suppress(CheckpointError):
                    stored = verify_log_checkpoint(item.note, self._key)
                    if stored.size == item.size > head.size:
                        head, note, self._refused_at = stored, item.note, "stored"
            if head.size:
                return self._verified(note, head)
        except (CouldNotTell, UnusableInput) as error:
            self._findings.unseen.append(error.message)
        return self._report(head, note, 0, None)

    def _verified(self, note: str, head: Checkpoint) -> Report:
        self._compare_saved(head)
        archives = self._client.archives()
        self._check_archives(head, archives)
        self._archived = archives[-1].last_index + 1 if archives else 0
        start = self._start(head, archives)
        self._tie_saved(head, start)
        log = self._pass(head, start, archives)
        self._look_for_none(head, log)
        if not self._refused_at:
            self._look_again(head)
        return self._report(head, note, start.size, log)

    def _compare_saved(self, head: Checkpoint) -> None:
        for saved in self._saved:
            if saved.checkpoint.origin != head.origin:
                raise UnusableInput(
                    f"{saved.name} is a checkpoint of {region_of(saved.checkpoint)}, the service's "
                    f"log is that of {region_of(head)}"
                )
            if saved.checkpoint.size > head.size:
                self._truncated(saved.checkpoint.size, saved.name, head.size)

    def _truncated(self, size: int, name: str, held: int) -> None:
        self._findings.add(
            "truncated",
            f"the log has {held} entries, but a checkpoint of size {size} was signed ({name}): "
            f"entries {held} to {size - 1} were cut off",
            held,
        )

    # -- what is not read ----------------------------------------------------------------------

    def _check_archives(self, head: Checkpoint, archives: Sequence[ArchiveRow]) -> None:
        """Hold the index of archives, which nobody signed, against itself and the signed head."""
        before = Frontier()
        for row in archives:
            after = row.frontier_after
            if (row.first_index, row.frontier_before) != (before.size, before):
                self._index_changed(
                    row, f"does not begin where what left before ends, {before.size}"
                )
            if not row.first_index <= row.last_index == after.size - 1:
                self._index_changed(row, f"ends at {row.last_index}, its frontier at {after.size}")
            self._tie_archive(head, row, "its frontier", after.size, after.root())
            self._check_archive_note(head, row)
            before = after

    def _check_archive_note(self, head: Checkpoint, row: ArchiveRow) -> None:
        try:
            signed = verify_log_checkpoint(row.checkpoint, self._key)
        except CheckpointError as error:
            self._index_changed(row, f"has a checkpoint that does not verify: {error.message}")
            return
        if signed.origin != head.origin or signed.size <= row.last_index:
            self._index_changed(
                row, f"has a checkpoint of {region_of(signed)}, size {signed.size}, not over it"
            )
        elif signed.size > head.size:
            self._truncated(signed.size, f"kept with {row.file}", head.size)
        else:
            self._tie_archive(head, row, "its checkpoint", signed.size, signed.root)

    def _tie_archive(
        self, head: Checkpoint, row: ArchiveRow, what: str, size: int, root: bytes
    ) -> None:
        if not 0 < size <= head.size:
            self._index_changed(row, f"says size {size} of {what}, the signed log has {head.size}")
            return
        wrong = self._not_begun_with(head, size, root, f"{what} of {row.file}")
        if wrong:
            self._index_changed(
                row, f"is not what the signed log begins with, by {what} of size {size}: {wrong}"
            )

    def _index_changed(self, row: ArchiveRow, what: str) -> None:
        self._findings.add(
            "archive-index-changed",
            f"the index of archives: {row.file} from {row.first_index} {what}",
            row.first_index,
        )

    def _tie_saved(self, head: Checkpoint, start: Frontier) -> None:
        """Saved checkpoints of what is not read: the signed log must begin with each of them."""
        for saved in self._saved:
            old = saved.checkpoint
            if not 0 < old.size <= min(start.size, head.size):
                continue  # the pass meets it, or it is beyond the head and was named so
            if (old.size, old.root) == (start.size, start.root()):
                continue  # the pass goes on from it, up to the head
            wrong = self._not_begun_with(head, old.size, old.root, saved.name)
            if wrong:
                self._findings.add(
                    "root-differs",
                    f"entries 0 to {old.size - 1} are not what the checkpoint of size {old.size} "
                    f"({saved.name}) signed: {wrong}",
                    0,
                )

    def _not_begun_with(self, head: Checkpoint, size: int, root: bytes, name: str) -> str:
        """Why the signed log does not begin with that root; empty if it does or can't be told."""
        try:
            verify_consistency(
                first=size,
                second=head.size,
                first_root=root,
                second_root=head.root,
                proof=self._client.consistency(size, head.size) if size < head.size else (),
            )
        except ProofError as error:
            return error.message
        except (CouldNotTell, UnusableInput) as error:
            self._findings.unseen.append(f"{name} (size {size}) is not tied to the log: {error}")
        return ""

    # -- where to begin ------------------------------------------------------------------------

    def _start(self, head: Checkpoint, archives: Sequence[ArchiveRow]) -> Frontier:
        gone = archives[-1].last_index + 1 if archives else 0
        live = gone if self._archive is None else 0
        if (
            self._since
            and not self._refused_at
            and live <= self._since.checkpoint.size <= head.size
        ):
            saved = self._since.checkpoint
            frontier = self._client.frontier(saved.size)
            if frontier.size == saved.size and frontier.root() == saved.root:
                self._findings.notices.append(
                    f"entries before {saved.size} were not read: {self._since.name} stands for them"
                )
                return frontier
            self._findings.add(
                "tile-changed",
                f"the tiles do not give the root of {self._since.name} (size {saved.size}); so "
                "the whole log was read",
            )
        if not live:
            return Frontier()
        return self._after_archives(archives[-1].frontier_after)

    def _after_archives(self, frontier: Frontier) -> Frontier:
        """Begin behind what has left, which `_check_archives` has tied to the signed head."""
        told = self._findings.notices if self._allow_archived else self._findings.unseen
        told.append(
            f"entries before {frontier.size} were not read: the service says that they have been "
            "archived, and nothing here shows that they are kept; --archive DIR reads them too"
        )
        return frontier

    # -- the pass ------------------------------------------------------------------------------

    def _pass(self, head: Checkpoint, start: Frontier, archives: list[ArchiveRow]) -> LogPass:
        log = LogPass(
            region=region_of(head),
            start=start,
            signed=self._signed(head, start.size),
            tiles=self._client.tiles(start.size // TILE_WIDTH),
            findings=self._findings,
        )
        for entry in self._entries(region_of(head), start.size, archives):
            if entry.index >= head.size:
                break  # recorded since
            log.take(entry)
            if entry.index == 0:
                self._first_leaf = entry.leaf
            if log.entries % _TELL_EVERY == 0:
                self._say(f"{log.size} of {head.size} entries")
        if self._refused_at and log.size < head.size:
            self._truncated(head.size, self._refused_at, log.size)
        log.finish(log.size if self._refused_at else head.size)
        return log

    def _entries(self, region: str, start: int, archives: list[ArchiveRow]) -> Iterator[Entry]:
        left = [archive for archive in archives if archive.last_index >= start]
        if self._archive is None or not left:
            return self._client.entries(start)
        files = archived_entries(self._archive, left, region, self._findings)
        wanted = (entry for entry in files if entry.index >= start)
        return chain(wanted, self._client.entries(left[-1].last_index + 1))

    def _signed(self, head: Checkpoint, start: int) -> Iterator[Signed]:
        """Every root that was signed, by size: stored, saved, and the head's last of its size."""
        saved = sorted(
            (
                Signed(item.checkpoint.size, item.checkpoint.root, item.name)
                for item in self._saved
                if start < item.checkpoint.size <= head.size
            ),
            key=_size,
        )
        last = [Signed(head.size, head.root, "head")]
        return heapq.merge(self._stored(head, start + 1), saved, last, key=_size)

    def _stored(self, head: Checkpoint, from_size: int) -> Iterator[Signed]:
        seen: deque[int] = deque(maxlen=_STORED_AT_ONCE)
        for item in self._client.checkpoints(from_size):
            if item.size > head.size:
                break
            self._stored_seen = True
            try:
                signed = verify_log_checkpoint(item.note, self._key)
            except CheckpointError as error:
                self._checkpoint_changed(item.size, error)
                seen.append(item.size)
                continue
            if (signed.size, signed.origin) != (item.size, head.origin):
                self._misplaced(item.size, signed)
                seen.append(item.size)
                continue
            self._look_for_previous(signed, from_size, seen)
            seen.append(signed.size)
            # Of what was archived one a day is kept: that the others are not there is no gap
            stored_at = item.created_at if signed.size > self._archived else None
            yield Signed(signed.size, signed.root, "stored", stored_at)
        self._look_for_previous(head, from_size, seen)

    def _look_for_previous(self, signed: Checkpoint, from_size: int, seen: deque[int]) -> None:
        """See that the checkpoint is there that was the newest stored one when this was signed.

        Not of what was archived: a checkpoint over it is kept with each archive.
        """
        previous, expected_from = signed.previous, max(from_size, self._archived + 1)
        if (
            previous is not None
            and previous >= expected_from
            and previous not in (*seen, signed.size)
        ):
            seen.append(previous)  # named once
            self._findings.add(
                "checkpoints-missing",
                f"the checkpoint of size {previous} was stored when that of size {signed.size} was "
                "signed, and is not there: it was deleted",
                previous,
            )

    # -- afterwards ----------------------------------------------------------------------------

    def _look_for_none(self, head: Checkpoint, log: LogPass) -> None:
        """The service stores a checkpoint each second in which the log grew: none is no accident."""
        recorded_at = log.first_recorded_at
        if self._stored_seen or recorded_at is None:
            return
        if datetime.now(UTC) - recorded_at > _STORED_WITHIN:
            self._findings.add(
                "checkpoints-missing",
                f"no checkpoint is stored for entries {log.first} to {head.size - 1}: they were "
                "deleted, or the service cannot store any",
                log.first,
            )

    def _look_again(self, head: Checkpoint) -> None:
        """See that the log only grew meanwhile, and that nothing signed is beyond it."""
        largest = 0
        for item in self._client.checkpoints(head.size + 1):
            try:
                signed = verify_log_checkpoint(item.note, self._key)
            except CheckpointError as error:
                self._checkpoint_changed(item.size, error)
                continue
            if signed.size != item.size:
                self._misplaced(item.size, signed)
            else:
                largest = signed.size
        try:
            now = verify_log_checkpoint(self._client.head_note(), self._key)
        except CheckpointError as error:
            self._findings.add("head-unsigned", f"the service's checkpoint: {error.message}")
            return
        except CouldNotTell as error:
            if SIGNER_REFUSES not in error.message:
                raise
            self._findings.add("signer-refused", f"the service signs no more: {error.message}")
            return
        if now.size < head.size:
            self._truncated(head.size, "the one signed when this verification began", now.size)
        if now.size < largest:
            self._truncated(largest, "stored", now.size)

    def _misplaced(self, size: int, signed: Checkpoint) -> None:
        self._findings.add(
            "checkpoint-changed",
            f"the stored checkpoint of size {size} says that it is of size {signed.size} of "
            f"{region_of(signed)}",
        )

    def _checkpoint_changed(self, size: int, error: CheckpointError) -> None:
        self._findings.add(
            "checkpoint-changed",
            f"the stored checkpoint of size {size} does not verify: {error.message}",
        )

    def _report(self, head: Checkpoint, note: str, first: int, log: LogPass | None) -> Report:
        findings = self._findings
        if findings.left_out:
            findings.notices.append(f"not listed: {counted(findings.left_out, 'further finding')}")
        return Report(
            region=region_of(head),
            size=head.size,
            root=head.root.hex(),
            note=note,
            first=first,
            entries=log.entries if log else 0,
            checkpoints=log.checkpoints if log else 0,
            findings=tuple(findings.found),
            notices=tuple(findings.notices),
            unseen=tuple(findings.unseen),
            first_leaf=self._first_leaf,
            witnessed=self.witnessed,
        )


def _size(signed: Signed) -> int:
    return signed.size
