"""A region whose disk counts as lost, back from a backup: made under load before the fault, restored after it.

All of it is the code of `mcctl backup`. The lost database's files stay in their place until the restored ones
take it, and beside them from then on; nothing reads them meanwhile, nor the WAL that waits on that disk. So a drill that
ends before that, by Ctrl-C or `kill -9`, has lost nothing: `mcctl up` starts the region as it was.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from mc_contract.drill import CONTROL, Request
from mc_ops.backups import (
    Asked,
    archive_written,
    create_backup,
    prepared,
    read_wanted,
    usual_places,
    usual_wal_s,
)
from mc_ops.environments import Startable
from mc_ops.errors import CouldNotTell, Declined, OpsError
from mc_ops.files import write_atomically
from mc_ops.service_client import OperatorClient

_ALL = "*"
_LOAD_S = (
    1.0  # of load between the backup and the moment, and again between the moment and the archive
)
_REASON = "a drill: the disk of the region counts as lost"
Say = Callable[[str], None]


@contextmanager
def halt_told(backup: RestoredRegion | None) -> Iterator[None]:
    """Say with an error of the mending that a restored region is still halted, if it is.

    Raises:
        CouldNotTell: with the error's message, and how to resume.
    """
    try:
        yield
    except OpsError as error:
        if backup is None or not backup.done or backup.is_resumed:
            raise
        first = f"{error.hint}; then, " if error.hint else ""
        home = quote(str(backup.region.workspace.home))
        raise CouldNotTell(
            f"{error.message}; and autonomy is halted in the restored region",
            hint=f"{first}when a person has looked: MC_HOME={home} mcctl autonomy resume --all --reason TEXT",
        ) from error


@dataclass(slots=True)
class RestoredRegion:
    """The region that is to be restored.

    Attributes:
        told: What the drill's report says of it.
        done: Whether the restored database has taken its place: from here on it is finished, not undone.
        is_resumed: Whether the halt that the restore began is over.
        to_s: The moment that is restored, by the clients' clock.
    """

    region: Startable
    operator: str = field(repr=False)
    folder: Path
    say: Say
    told: dict[str, Any] = field(default_factory=dict)
    done: bool = False
    is_resumed: bool = False
    to_s: float = 0.0
    _asked: Asked | None = None
    _archived_s: float | None = None
    _was_halted: bool = False
    _given_up: bool = False
    _doing: asyncio.Future[None] | None = None

    async def prepare(self, now: Callable[[], float]) -> None:
        """Make a backup under load, and have the WAL archived up to a moment after it.

        Args:
            now: The clients' clock.

        Raises:
            OpsError: no backup can be made, or its WAL is not archived; nothing was broken.
        """
        await asyncio.to_thread(self._prepare, now)

    def _prepare(self, now: Callable[[], float]) -> None:
        workspace = self.region.workspace
        wanted = read_wanted(workspace.home)
        self._was_halted = self._halted()
        folder, key_file = usual_places(workspace)
        wal_s = usual_wal_s()
        if wanted is not None:  # another folder would end the line that is archived
            folder, key_file, wal_s = wanted.folder, wanted.key_file, wanted.wal_s
            self._archived_s = wal_s
        backup = create_backup(self.region, folder, key_file, wal_s=wal_s, say=self.say).backup
        time.sleep(_LOAD_S)
        to, self.to_s = datetime.now(UTC), now()
        time.sleep(_LOAD_S)  # PostgreSQL stops at a time only if something was committed after it
        archive_written(self.region.database(), folder, backup.line)
        self._asked = Asked(
            folder=folder, key_file=key_file, backup=backup.id, to=to, replace=True, lost=True
        )
        self.told |= {"backup": backup.id, "to": to.isoformat(), "to_s": round(self.to_s, 3)}
        self.say(f"backup {backup.id} is archived beyond {to:%H:%M:%S.%f}, which is restored")

    async def restore(self, rows: Iterable[Request]) -> None:
        """Restore it; an error, or giving up, before the end leaves the region's files as they were.

        Args:
            rows: What clients asked: what this region acknowledged is held against the backup.

        Raises:
            OpsError: it cannot be restored.
        """
        acknowledged = [
            {"task": row.task, "tenant": row.tenant}
            for row in rows
            if row.outcome == "acknowledged" and row.tenant != CONTROL
        ]
        self._doing = asyncio.ensure_future(asyncio.to_thread(self._restore, acknowledged))
        await asyncio.shield(self._doing)

    def _restore(self, acknowledged: list[dict[str, str]]) -> None:
        assert self._asked is not None  # `prepare` was called
        path = self.folder / "acknowledged.json"
        write_atomically(path, json.dumps(acknowledged))
        began = time.monotonic()
        asked = replace(self._asked, acknowledged=(path,))
        try:
            with prepared(self.region, asked, self._step) as found:
                report = found.report()
                self._step(
                    f"the restore loses {report['lost_requests']} accepted requests or their answers"
                )
                found.carry_out(reason=_REASON, hold=True, checkpoints=())
                self.done = True
        finally:
            path.unlink(missing_ok=True)
        self.told |= {
            "restore": found.id,
            "seconds": round(time.monotonic() - began, 3),
            "epoch": found.done["subject"],
            "reported_lost": report["lost_requests"],
            "former_files": str(found.kept),
        }
        self.say(f"restored: {found.done['subject']} began; the former files are in {found.kept}")

    def _step(self, text: str) -> None:
        if self._given_up:
            raise Declined("the drill was interrupted before the restore changed anything")
        self.say(text)

    async def ended(self) -> None:
        """Give up a restore that is under way, or wait for its end if it cannot be given up any more."""
        self._given_up = True
        if self._doing is not None:
            # Its error was raised where it was begun; whatever it is, what is broken is mended
            await asyncio.gather(self._doing, return_exceptions=True)

    def _halted(self) -> bool:
        with OperatorClient(self.region.url, token=self.operator) as client:
            scopes = client.autonomy()["scopes"]
        return any(one["scope"] == _ALL and one["halted"] for one in scopes)

    def resume(self) -> None:
        """End the halt that the restore began, and have WAL archived as before; only if it was restored.

        Raises:
            OpsError: the region does not answer, or no backup can be made.
        """
        if not self.done:
            return
        self.told["halted"] = self._halted()
        if not self._was_halted:
            self.say("resuming autonomy, which the restore halted")
            with OperatorClient(self.region.url, token=self.operator) as client:
                client.resume(_ALL, reason="what a drill's restore lost is counted")
        self.is_resumed = True
        if self._archived_s is not None and self._asked is not None:
            places = self._asked.folder, self._asked.key_file
            create_backup(self.region, *places, wal_s=self._archived_s, say=self.say)

    def wrong(self, rows: Iterable[Request], member: str) -> list[str]:
        """What must not be: a write from before the moment that is not there, or nobody halted it."""
        missing = sum(
            getattr(row, member) is False and row.ended_s < self.to_s and row.tenant != CONTROL
            for row in rows
        )
        said = [f"{missing} writes from before the restored moment are missing"] if missing else []
        return (
            said if self.told.get("halted", True) else [*said, "the restored region was not halted"]
        )
