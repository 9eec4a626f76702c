"""Files: written whole or not at all, read within bounds and with the reason where that fails."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mc_ops.errors import CouldNotTell, UnusableInput

LARGEST_BYTES = 256 * 1024 * 1024
_LOCK_POLL_S = 0.03
_A_FILE = "name a file that is there and that you may read"


def write_atomically(
    path: Path, content: str | bytes, mode: int = 0o600, *, replace: bool = True
) -> None:
    """Write a file so that a reader, or a power cut, finds what was there before or all of it.

    Args:
        path: The file; its folder must exist.
        content: All of it.
        mode: Its permissions, whatever the umask.
        replace: Whether it takes the place of a file that is there.

    Raises:
        FileExistsError: there is one, and it is not to be replaced.
        OSError: it cannot be written.
    """
    with atomic_file(path, mode, replace=replace) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_file(path: Path, mode: int = 0o600, *, replace: bool = True) -> Iterator[IO[bytes]]:
    """A file to write to, which takes its place when the block ends without an error.

    Arguments and errors are those of `write_atomically`.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # unlike a rename, this never replaces what came first
    finally:
        temporary.unlink(missing_ok=True)


def read_json_object(
    path: Path, hint: str = "restore it from a copy, or remove it"
) -> dict[str, Any] | None:
    """The JSON object in a file; None when there is no file.

    Args:
        path: The file.
        hint: What to do when it is damaged; only the caller knows what its loss would mean.

    Raises:
        CouldNotTell: the file cannot be read, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:  # not damaged: whoever removes it loses what it holds
        raise CouldNotTell(
            f"{path} cannot be read: {error.strerror}",
            hint="see that it is a file that you may read",
        ) from error
    except (ValueError, RecursionError) as error:
        raise CouldNotTell(f"{path} cannot be read: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise CouldNotTell(f"{path} is not a JSON object", hint=hint)
    return value


def json_object(path: Path, data: bytes) -> dict[str, Any]:
    """The JSON object that a file's bytes hold.

    Raises:
        UnusableInput: They hold something else.
    """
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path} is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise UnusableInput(f"{path} is not a JSON object")
    return told


def read_limited(path: Path, most: int = LARGEST_BYTES) -> bytes:
    """A file's bytes.

    Raises:
        UnusableInput: It cannot be read, is not a regular file (a device may have no end), or is
            larger than `most`.
    """
    try:
        # Non-blocking: to open a pipe that nobody writes to would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise UnusableInput(f"{path} is not a regular file", hint=_A_FILE)
            with os.fdopen(handle, "rb", closefd=False) as file:
                data = b"" if found.st_size > most else file.read(most + 1)
        finally:
            os.close(handle)
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read: {error.strerror}", hint=_A_FILE) from error
    if (size := max(found.st_size, len(data))) > most:  # it may have grown meanwhile
        raise UnusableInput(
            f"{path} has {size} bytes or more, the limit is {most} bytes",
            hint="is it the file that you mean?",
        )
    return data


def lock(file: IO[str], patience_s: float, how: int = fcntl.LOCK_EX) -> bool:
    """Take a file's lock, which ends with the open file; false if another has it for too long."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOCK_POLL_S)
        else:
            return True


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Name the place where what happens within cannot write.

    Raises:
        CouldNotTell: It could not.
    """
    try:
        yield
    except OSError as error:
        raise CouldNotTell(f"{place} cannot be written: {error.strerror}") from error
