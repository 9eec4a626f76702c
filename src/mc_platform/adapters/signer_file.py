"""What was signed last, in a file: the note, as text; implements `record.Memory`.

Replicas on one machine share the files of their region: the signer's, and its witness's for each log. It is replaced whole, and is on the disk
(file and folder synced) before the signature that it holds is given to anybody.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mc_contract.ledger.checkpoint import MAX_NOTE_BYTES
from mc_contract.ledger.epochs import file_name
from mc_platform.adapters.audit_file import sync_folder
from mc_platform.errors import LedgerDamaged, Unavailable

_LOCK_WAIT_S, _LOCK_LOOK_S = 5.0, 0.01


class SignerFile:
    """`NAME-REGION.note` in a folder that outlives the process, and not with the database.

    Of a later epoch's log (`local-1/e2`) it is `NAME-local-1.e2.note`.
    """

    durable = True

    def __init__(self, folder: Path, *, region: str, name: str = "signer") -> None:
        self._folder = folder
        self._path = folder / f"{name}-{file_name(region)}.note"
        self._wait_s = _LOCK_WAIT_S

    async def last(self) -> str | None:
        return await asyncio.to_thread(self._read)

    async def keep(self, note: str, *, after: str | None) -> bool:
        return await asyncio.to_thread(self._replace, note, after)

    def _read(self) -> str | None:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(MAX_NOTE_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable("read", error) from error

    def _replace(self, note: str, after: str | None) -> bool:
        made = self._path.with_suffix(".new")  # one name, under the lock: a crash leaves no litter
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._locked():
                if self._read() != after:
                    return False
                _write_synced(made, note.encode())
                made.replace(self._path)
                sync_folder(self._folder)
        except OSError as error:
            raise self._unusable("written", error) from error
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A file of its own: the lock must outlive the replacement of the other.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path.with_suffix(".lock"), flags, 0o600)
        try:
            deadline = time.monotonic() + self._wait_s
            while not _try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise Unavailable(f"another process holds the signer's state {self._path.name}")
                time.sleep(_LOCK_LOOK_S)
            yield
        finally:
            os.close(descriptor)  # and the lock with it

    def _unusable(self, done: str, error: OSError) -> LedgerDamaged:
        return LedgerDamaged(
            f"the signer's state file {self._path.name} cannot be {done}: {error.strerror}",
            hint="nothing is signed that is not remembered: mend MC_SIGNER_STATE_DIR",
        )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_synced(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
