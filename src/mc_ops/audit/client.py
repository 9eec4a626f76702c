"""The service's `/audit/...`, read page by page: nothing larger than a page is ever held.

Nothing that it answers is believed here or by the callers: it is what gets verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice, takewhile
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from mc_contract.errors import McError
from mc_contract.ledger.checkpoint import parse_checkpoint
from mc_contract.ledger.entry import Entry, strict_base64
from mc_contract.ledger.merkle import Frontier
from mc_contract.ledger.tiles import split_hashes
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput
from mc_ops.service_client.http import HttpClient

_PAGE = 1000
_TILE_PAGE = 64
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredNote:
    """A stored checkpoint: the size and time that its row has, and the signed note."""

    size: int
    note: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ArchiveRow:
    """What the service says of a run of entries that left as a file."""

    first_index: int
    last_index: int
    file: str
    sha256: str
    frontier_before: Frontier
    frontier_after: Frontier
    checkpoint: str


class AuditClient(HttpClient):
    """One service at one URL, with an auditor's credential."""

    TIMEOUT_S = 60.0
    _log: str | None = None  # of an earlier epoch; None: the one that is written

    def of_log(self, log: str | None) -> AuditClient:
        """The same client, asking of another of the region's logs; its connections are shared."""
        other = copy(self)
        other._log = log
        return other

    def log_name(self) -> str:
        """What the service calls the log that it writes."""
        body = self._json("/audit/entries", start=0, limit=1)
        return _read(lambda: str(body["region"]))

    def head_note(self) -> str:
        """A checkpoint signed now."""
        return self._send("/ledger/checkpoint").text

    def entries(self, start: int) -> Iterator[Entry]:
        """Every row with an index from `start`, in the order and number in which the table has it."""
        last: Entry | None = None
        while True:
            # The last row is asked for again: its twin may stand on the other side of the page.
            begin = start if last is None else last.index
            page = self._list(
                "/audit/entries", "entries", Entry.from_dict, start=begin, limit=_PAGE
            )
            if last is not None and last in page:
                page.remove(last)
            if not page:
                return
            yield from page
            last = page[-1]

    def newest_first(self) -> Iterator[Entry]:
        """Every row by pages, the newest page first; each page in order."""
        note = self.head_note()
        end = _read(lambda: parse_checkpoint(note.rpartition("\n\n")[0] + "\n").size)
        while end > 0:
            start = max(0, end - _PAGE)
            empty = True
            for entry in takewhile(partial(_is_below, end), self.entries(start)):
                empty = False
                yield entry
            if empty:
                return  # what is older has been archived
            end = start

    def telling(self, decision: str) -> Iterator[Entry]:
        """Rows of which one tells a decision, if any does: its own, else all, the newest first."""
        try:
            body = self._json(f"/audit/decision/{quote(decision, safe='')}")
            index = _read(lambda: body["index"])
        except UnusableInput:  # the service is older, or the id is no decision's
            index = None
        if index is not None:
            yield from islice(self.entries(_read(lambda: int(index))), 1)
        yield from self.newest_first()

    def matching(self, **filters: Any) -> Iterator[Entry]:
        """Rows that all filters of `/audit/events` let through, the newest first.

        Raises:
            UnusableInput: the service knows no such tenant or kind.
        """
        asked = {name: value for name, value in filters.items() if value}
        following: int | None = None
        while True:
            place = {} if following is None else {"before": following}
            body = self._json("/audit/events", limit=_PAGE, **asked, **place)
            page, following_this = _read(partial(_events, body))
            yield from page
            before, following = following, following_this
            if not following or (before is not None and following >= before):
                return

    def checkpoints(self, from_size: int) -> Iterator[StoredNote]:
        """Every stored checkpoint of at least `from_size`, by size."""
        while True:
            page = self._list(
                "/audit/checkpoints", "checkpoints", _note, from_size=from_size, limit=_PAGE
            )
            yield from page
            if len(page) < _PAGE:
                return
            from_size = page[-1].size + 1

    def cosigned(self) -> list[str]:
        """Notes that witnesses have cosigned, the newest first.

        Raises:
            CouldNotTell: the service is older than witnesses.
        """
        try:
            return self._list("/audit/cosigned", "checkpoints", lambda item: str(item["note"]))
        except UnusableInput as error:
            raise CouldNotTell(f"cosigned checkpoints cannot be read: {error.message}") from error

    def tiles(self, first: int) -> Iterator[tuple[int, list[bytes]]]:
        """Every kept tile of level 0 from `first`: its index and its leaf hashes."""
        while True:
            page = self._list("/audit/tiles", "tiles", _tile, first=first, limit=_TILE_PAGE)
            yield from page
            if len(page) < _TILE_PAGE:
                return
            first = page[-1][0] + 1

    def archives(self) -> list[ArchiveRow]:
        """What left the database."""
        return self._list("/audit/archives", "archives", _archive)

    def frontier(self, size: int) -> Frontier:
        """What the service says that its frontier was at `size`."""
        body = self._json("/audit/frontier", size=size)
        return _read(lambda: Frontier.from_bytes(strict_base64(body["frontier"])))

    def consistency(self, first: int, second: int) -> list[bytes]:
        """The proof from one size to another."""
        body = self._json("/audit/proof/consistency", first=first, second=second)
        return _read(lambda: [strict_base64(item) for item in body["proof"]])

    def inclusion(self, which: Mapping[str, str | int]) -> tuple[int, str, list[bytes]]:
        """An entry's index, a checkpoint signed now, and the proof at its size.

        Args:
            which: `{"index": 7}` or `{"event_id": "..."}`.
        """
        body = self._json("/audit/proof/inclusion", **which)
        return _read(
            lambda: (
                int(body["index"]),
                str(body["checkpoint"]),
                [strict_base64(item) for item in body["proof"]],
            )
        )

    def index_of(self, event_id: str) -> int:
        """An event's index.

        Raises:
            UnusableInput: no such event is recorded.
        """
        return self.inclusion({"event_id": event_id})[0]

    def of_tenant(
        self, tenant: str, since: str, until: str, at: tuple[int, str] | None = None
    ) -> tuple[str, Iterator[tuple[Entry, list[bytes]]]]:
        """A checkpoint signed now, and a tenant's entries with their proofs at its size.

        Args:
            at: The size and note of a checkpoint that is taken instead.
        """
        path = f"/audit/tenant/{quote(tenant, safe='')}"
        times = {name: text for name, text in (("since", since), ("until", until)) if text}
        size: dict[str, int] = {"size": at[0]} if at else {}
        body = self._json(path, **times, **size)
        note = at[1] if at else _read(lambda: str(body["checkpoint"]))
        return note, self._proven(path, times, body)

    def _proven(
        self, path: str, times: Mapping[str, str], body: dict[str, Any]
    ) -> Iterator[tuple[Entry, list[bytes]]]:
        while True:
            page = _proven_page(body)
            yield from page
            if not body.get("more") or not page:
                return
            size, after = _read(partial(_size, body)), page[-1][0].index
            body = self._json(path, **times, size=size, after_index=after)

    def _list(self, path: str, name: str, read: Callable[[Any], T], **query: str | int) -> list[T]:
        body = self._json(path, **query)
        return _read(lambda: [read(item) for item in body[name]])

    def _json(self, path: str, **query: Any) -> dict[str, Any]:
        response = self._send(path, **query)
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise CouldNotTell(f"{self.url}{path} answered without a JSON object")
        return body

    def _send(self, path: str, **query: Any) -> httpx.Response:
        asked = {**query, "log": self._log} if self._log and path.startswith("/audit/") else query
        response = self.reach("GET", path, params=asked)
        status = response.status_code
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise NotAllowed(
                f"{self.url} refused the credential with {status}",
                hint="an auditor's token is needed: MC_TOKEN_FILE, or AUDITOR in "
                "MC_HOME/secrets/credentials.json",
            )
        if status in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND):
            raise UnusableInput(f"the service says: {_message(response)}")
        if status != httpx.codes.OK:
            raise CouldNotTell(f"{self.url}{path} answered {status}: {_message(response)}")
        return response


def _is_below(end: int, entry: Entry) -> bool:
    return entry.index < end


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _read(work: Callable[[], T]) -> T:
    """What an answer says.

    Raises:
        CouldNotTell: it is not what the service's answers look like.
    """
    try:
        return work()
    except (ValueError, KeyError, TypeError, AttributeError, McError) as error:
        raise CouldNotTell(
            f"the service's answer can't be read: {type(error).__name__}: {error}"
        ) from error


def _note(value: Any) -> StoredNote:
    return StoredNote(
        int(value["size"]), str(value["note"]), datetime.fromisoformat(value["created_at"])
    )


def _tile(value: Any) -> tuple[int, list[bytes]]:
    return int(value["index"]), split_hashes(strict_base64(value["hashes"]))


def _archive(value: Any) -> ArchiveRow:
    return ArchiveRow(
        first_index=int(value["first_index"]),
        last_index=int(value["last_index"]),
        file=str(value["file"]),
        sha256=str(value["sha256"]),
        frontier_before=Frontier.from_bytes(strict_base64(value["frontier_before"])),
        frontier_after=Frontier.from_bytes(strict_base64(value["frontier_after"])),
        checkpoint=str(value["checkpoint"]),
    )


def _proven_page(body: dict[str, Any]) -> list[tuple[Entry, list[bytes]]]:
    return _read(lambda: [_proven(item) for item in body["entries"]])


def _events(body: dict[str, Any]) -> tuple[list[Entry], int | None]:
    following = body["next"]
    return (
        [Entry.from_dict(item) for item in body["entries"]],
        None if following is None else int(following),
    )


def _size(body: dict[str, Any]) -> int:
    return int(body["size"])


def _proven(value: Any) -> tuple[Entry, list[bytes]]:
    return Entry.from_dict(value), [strict_base64(item) for item in value["proof"]]
