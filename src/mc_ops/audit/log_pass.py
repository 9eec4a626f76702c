"""One pass over the log: every leaf hashed anew, every prefix root held against what was signed.

Pure but for the iterators it is fed from. It goes on after a finding, so that one pass names all
that was done. Where a row and its tile say different things there are two stories of the log; the
next signed checkpoint tells which of them it signed, and the pass goes on with that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mc_contract.ledger.entry import Entry
from mc_contract.ledger.merkle import Frontier
from mc_contract.ledger.tiles import TILE_WIDTH

MOST_FINDINGS = 10_000
_MOST_GAPS = 20
_UNSIGNED_FOR = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be.

    Attributes:
        kind: Stable word, see docs/explanation/ledger.md.
        index: The entry it is about, if it is about one.
    """

    kind: str
    message: str
    index: int | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """A root that the ledger's key has signed; `source` says where the note came from."""

    size: int
    root: bytes
    source: str
    created_at: datetime | None = None


@dataclass(slots=True)
class Findings:
    """What was found; `notices` are worth knowing, `unseen` could not be looked at."""

    found: list[Finding] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    left_out: int = 0

    def add(
        self, kind: str, message: str, index: int | None = None, event_id: str | None = None
    ) -> None:
        """Keep a finding; after very many only their number."""
        if len(self.found) >= MOST_FINDINGS:
            self.left_out += 1
        else:
            self.found.append(Finding(kind, message, index, event_id))


@dataclass(frozen=True, slots=True)
class _Suspect:
    index: int
    event_id: str
    row: bytes
    tile: bytes


class LogPass:
    """Takes entries in the order in which they come, and signed roots by size."""

    def __init__(
        self,
        *,
        region: str,
        start: Frontier,
        signed: Iterator[Signed],
        tiles: Iterator[tuple[int, list[bytes]]],
        findings: Findings,
    ) -> None:
        """Begin at `start`; `signed` and `tiles` must begin there or before, and be sorted."""
        self._region = region
        self._rows = start
        self._by_tiles: Frontier | None = None
        self._signed = signed
        self._next = next(signed, None)
        self._tiles = tiles
        self._tile: tuple[int, list[bytes]] | None = None
        self._findings = findings
        self._fits_to = start.size
        self._first = start.size
        self._suspects: list[_Suspect] = []
        self._unfit = 0
        self._severed = False
        self._gaps = 0
        self._recorded_at: datetime | None = None
        self._unsigned_since: datetime | None = None
        self.first_recorded_at: datetime | None = None
        self.entries = 0
        self.checkpoints = 0

    @property
    def first(self) -> int:
        """The index at which the pass began."""
        return self._first

    @property
    def size(self) -> int:
        """How many entries of the log are accounted for."""
        return self._rows.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return self._rows.root()

    def take(self, entry: Entry) -> None:
        """The next row."""
        self.entries += 1
        self.first_recorded_at = self.first_recorded_at or entry.recorded_at
        if entry.index < self.size:
            self._findings.add(
                "duplicated",
                f"index {entry.index} stands in more than one row; one of them is event "
                f"{entry.event_id}",
                entry.index,
                entry.event_id,
            )
            return
        self._fill(entry.index)
        self._compare_columns(entry)
        self._append(self._row_hash(entry), entry.event_id)
        self._unsigned_since = self._unsigned_since or entry.recorded_at
        self._check_signed()

    def finish(self, size: int) -> None:
        """The log is said to end at `size`."""
        self._fill(size)
        if self._gaps > _MOST_GAPS:
            self._findings.notices.append(
                f"{self._gaps} times in all no checkpoint was stored for minutes"
            )
        if self._unfit > 1:
            self._findings.notices.append(
                f"{self._unfit} signed checkpoints in all do not fit; only the first is named"
            )

    # -- what an entry says --------------------------------------------------------------------

    def _compare_columns(self, entry: Entry) -> None:
        where = (entry.index, entry.event_id)
        wrong = entry.disagreements(self._region)
        if wrong == ["leaf"]:
            self._findings.add("leaf-unreadable", f"entry {entry.index} is no event", *where)
        elif wrong:
            self._findings.add(
                "columns-changed",
                f"entry {entry.index} (event {entry.event_id}): the row disagrees with the leaf in "
                f"{', '.join(wrong)}",
                *where,
            )
        if self._recorded_at is not None and entry.recorded_at < self._recorded_at:
            self._findings.add(
                "columns-changed",
                f"entry {entry.index} (event {entry.event_id}): recorded_at is before that of the "
                "entry before it",
                *where,
            )
        self._recorded_at = entry.recorded_at

    def _row_hash(self, entry: Entry) -> bytes:
        computed, recorded = entry.leaf_hash(), entry.recorded_hash
        if computed == recorded:
            return computed
        tile = self._tile_hash(entry.index)
        what, used = "does not hash to what the row holds", recorded
        if tile == recorded:
            what = "was changed: row and tile hold another hash than its bytes have"
        elif tile == computed:
            what, used = "is as the tile has it, but the row's leaf_hash was changed", computed
        self._findings.add(
            "leaf-changed",
            f"entry {entry.index} (event {entry.event_id}): the leaf {what}",
            entry.index,
            entry.event_id,
        )
        return used

    # -- the tree ------------------------------------------------------------------------------

    def _append(self, row: bytes, event_id: str) -> None:
        index, tile = self.size, self._tile_hash(self.size)
        if tile is not None and tile != row:
            self._suspects.append(_Suspect(index, event_id, row, tile))
            self._by_tiles = self._by_tiles or self._rows
        if self._by_tiles is not None:
            self._by_tiles = self._by_tiles.append(row if tile is None else tile)
        self._rows = self._rows.append(row)

    def _fill(self, index: int) -> None:
        """Account for entries that are not there, by their tiles' hashes where those are kept."""
        if self.size >= index:
            return
        first, last = self.size, index - 1
        what = f"entry {first} is" if first == last else f"entries {first} to {last} are"
        self._findings.add("missing", f"{what} missing", first)
        while self.size < index:
            tile = self._tile_hash(self.size)
            if tile is None and not self._severed:
                self._severed = True
                self._findings.unseen.append(
                    f"what follows entry {self.size - 1} can't be held against checkpoints: "
                    "the hashes of missing entries are not kept"
                )
            self._append(tile or bytes(32), "")
            self._check_signed()

    def _tile_hash(self, index: int) -> bytes | None:
        wanted, within = divmod(index, TILE_WIDTH)
        while self._tile is None or self._tile[0] < wanted:
            self._tile = next(self._tiles, (1 << 62, []))
        return self._tile[1][within] if self._tile[0] == wanted else None

    # -- what was signed -----------------------------------------------------------------------

    def _check_signed(self) -> None:
        while self._next is not None and self._next.size <= self.size:
            signed, self._next = self._next, next(self._signed, None)
            if signed.size == self.size and not self._severed:
                self.checkpoints += 1
                self._look_for_gap(signed)
                self._hold_against(signed)

    def _hold_against(self, signed: Signed) -> None:
        if self._rows.root() == signed.root:
            for suspect in self._suspects:
                self._findings.add(
                    "tile-changed",
                    f"tile 0/{suspect.index // TILE_WIDTH} has another hash for entry "
                    f"{suspect.index}; the signed checkpoint of size {signed.size} fits the row",
                    suspect.index,
                    suspect.event_id,
                )
        elif self._by_tiles is not None and self._by_tiles.root() == signed.root:
            self._name_replaced(signed)
            self._rows = self._by_tiles
        else:
            self._name_interval(signed)
            return
        self._by_tiles, self._fits_to, self._unfit = None, signed.size, 0
        self._suspects.clear()

    def _name_replaced(self, signed: Signed) -> None:
        belongs = {suspect.tile: suspect.index for suspect in self._suspects}
        for suspect in self._suspects:
            if not suspect.event_id:
                continue  # missing, and named so
            home = belongs.get(suspect.row)
            what = "was replaced" if home is None else f"holds what belongs at index {home}"
            self._findings.add(
                "replaced" if home is None else "swapped",
                f"entry {suspect.index} (event {suspect.event_id}) {what}: the signed checkpoint "
                f"of size {signed.size} ({signed.source}) fits the hash in tile "
                f"0/{suspect.index // TILE_WIDTH}, not the row's",
                suspect.index,
                suspect.event_id,
            )

    def _name_interval(self, signed: Signed) -> None:
        self._unfit += 1
        if self._unfit > 1:
            return
        if signed.source == "head":
            self._findings.add(
                "head-changed",
                f"the head's root at size {signed.size} is not that of the entries; up to size "
                f"{self._fits_to} the log fits what was signed: the head was rewritten, or an "
                f"entry from {self._fits_to} on",
            )
            return
        suspects = ", ".join(str(suspect.index) for suspect in self._suspects[:10])
        self._findings.add(
            "root-differs",
            f"entries {self._fits_to} to {signed.size - 1} are not what the checkpoint of size "
            f"{signed.size} ({signed.source}) signed"
            + (f"; tiles differ at {suspects}" if suspects else ""),
            self._fits_to,
        )

    def _look_for_gap(self, signed: Signed) -> None:
        if signed.source != "stored":
            return
        since, self._unsigned_since = self._unsigned_since, None
        if since is None or signed.created_at is None:
            return
        if signed.created_at - since > _UNSIGNED_FOR:
            self._gaps += 1
            if self._gaps > _MOST_GAPS:
                return
            self._findings.notices.append(
                f"no checkpoint was stored from {since:%Y-%m-%d %H:%M:%S} to "
                f"{signed.created_at:%Y-%m-%d %H:%M:%S} (before size {signed.size}): the service "
                "was down, or its checkpoints were deleted"
            )
