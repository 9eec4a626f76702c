"""Take a pack apart for other people's tools, into a folder that somebody else may have prepared.

Every folder on the way is opened by its own name from the one above (`openat`), and no symbolic
link is followed, so nothing can be exchanged between a look and a write. A file is written beside
its name and then renamed onto it: what stands there is replaced and never written through, also
where it is a hard link to a file elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path, PurePath

from mc_contract.evidence import PackError, read_pack
from mc_ops.errors import CouldNotTell, UnusableInput

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def extract(raw: bytes, folder: Path) -> list[Path]:
    """Write what a pack holds, for checking by other tools; nothing is verified here.

    Args:
        raw: The pack's bytes.
        folder: Gets `pae.bin` (what is signed), `signature.der`, `statement.json` and the
            artefacts under `artifacts/`; files of those names are replaced.

    Raises:
        UnusableInput: it is no pack, or a folder or file on the way is a symbolic link.
        CouldNotTell: a file can't be written.
    """
    try:
        pack = read_pack(raw)
    except PackError as cause:
        raise UnusableInput(
            f"not an evidence pack: {cause.message}",
            hint="name a file that `mcctl evidence pack --out FILE` has written",
        ) from cause
    # names were checked by `read_pack`: relative, no dots, so they stay below the folder
    files: Mapping[PurePath, bytes] = {
        PurePath("pae.bin"): pack.signed_bytes(),
        PurePath("signature.der"): pack.signature,
        PurePath("statement.json"): pack.payload,
        **{PurePath("artifacts", name): content for name, content in pack.artifacts.items()},
    }
    for path, content in files.items():
        try:
            _write(folder, path, content)
        except OSError as cause:
            raise CouldNotTell(f"can't extract to {folder}: {cause.strerror}") from cause
    return [folder / path for path in files]


def _write(folder: Path, path: PurePath, content: bytes) -> None:
    handle = _open_folder(folder / path.parent)
    try:
        _refuse_link(folder / path, path.name, handle)
        temporary = f".{path.name[:100]}.{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(temporary, _NEW_FILE, 0o644, dir_fd=handle), "wb") as file:
                file.write(content)
            os.rename(temporary, path.name, src_dir_fd=handle, dst_dir_fd=handle)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=handle)
            raise
    finally:
        os.close(handle)


def _open_folder(path: Path) -> int:
    """A handle of the folder, made if it is not there.

    Raises:
        UnusableInput: a part of the path is a symbolic link.
    """
    start, *parts = path.parts if path.is_absolute() else (".", *path.parts)
    handle = os.open(start, _FOLDER)
    walked = Path(start)
    try:
        for part in parts:
            walked /= part
            inner = _step(handle, part, walked)
            os.close(handle)
            handle = inner
    except BaseException:
        os.close(handle)
        raise
    return handle


def _step(folder: int, name: str, path: Path) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):  # which one for a link, systems differ
            _refuse_link(path, name, folder)
        raise


def _refuse_link(path: Path, name: str, folder: int) -> None:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise UnusableInput(
            f"{path} is a symbolic link, and none is followed",
            hint="extract to a new folder, named by its real path (realpath)",
        )


__all__ = ["extract"]
