"""A sealed file: a stream, compressed and encrypted in chunks, that is whole or is refused.

    "MCSEAL1" and a newline, length of the header (4 bytes, big-endian), header (JSON), chunk, chunk, ...

The header names the key, the backup or line that the file belongs to, and its name there; from it and the
key a key of the file's own is derived (HKDF-SHA256), so a header that was changed opens nothing.
Each chunk is AES-256-GCM over at most 1 MiB; its nonce is its number and whether it is the last. So
a chunk that was changed, left out, moved, repeated, cut off or taken from another file fails, and
so does a file that ends early. Nothing is held in memory but two chunks.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mc_ops.backups.keys import BackupKey
from mc_ops.errors import Finding

_MAGIC = b"MCSEAL1\n"
_CHUNK = 1024 * 1024
_TAG = 16
_MOST_HEADER = 4096
_LEVEL = 1
Count = Callable[[int, int], None]
"""Is told about how many bytes there are, and how many are done."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a sealed file is: where it belongs, and its name there."""

    platform: str
    set: str
    name: str


def seal(source: Iterable[bytes], target: IO[bytes], key: BackupKey, label: Label) -> int:
    """Write a stream as a sealed file; the caller makes it durable.

    Returns:
        How many bytes the stream had.
    """
    header = json.dumps(
        {
            "key_id": key.id,
            "platform": label.platform,
            "set": label.set,
            "name": label.name,
            "salt": secrets.token_hex(32),
        }
    ).encode()
    target.write(_MAGIC + len(header).to_bytes(4, "big") + header)
    cipher = _cipher(key, header)
    number, count, held = 0, 0, bytearray()
    pack = zlib.compressobj(_LEVEL)
    for piece in chain(source, (None,)):
        count += len(piece or b"")
        held += pack.flush() if piece is None else pack.compress(piece)
        while len(held) > _CHUNK:
            target.write(cipher.encrypt(_nonce(number, last=False), bytes(held[:_CHUNK]), None))
            del held[:_CHUNK]
            number += 1
    target.write(cipher.encrypt(_nonce(number, last=True), bytes(held), None))
    return count


def unseal(path: Path, key: BackupKey, label: Label) -> Iterator[bytes]:
    """What was sealed, piece by piece; whoever uses it must have read it to its end.

    Raises:
        Finding: it is another key's or another platform's, or it is not whole.
    """
    with path.open("rb") as file:
        header = _header(file, path, key, label)
        cipher = _cipher(key, header)
        unpack = zlib.decompressobj()
        number, chunk = 0, file.read(_CHUNK + _TAG)
        while True:
            following = file.read(_CHUNK + _TAG)
            try:
                plain = cipher.decrypt(_nonce(number, last=not following), chunk, None)
                yield from _pieces(unpack, plain)
            except (InvalidTag, ValueError, zlib.error) as error:
                raise Finding(
                    f"{path.name} is not what was sealed: chunk {number} of it was changed, moved "
                    "or cut off",
                    hint="restore from another backup, or from another copy of this one",
                ) from error
            if not following:
                break
            number, chunk = number + 1, following
        if not unpack.eof or unpack.unused_data:
            raise Finding(f"{path.name} does not end where it should")


def _pieces(unpack: zlib._Decompress, packed: bytes) -> Iterator[bytes]:
    while packed:
        piece = unpack.decompress(packed, _CHUNK)
        if piece:
            yield piece
        packed = unpack.unconsumed_tail
        if not piece and not packed:
            return


def _header(file: IO[bytes], path: Path, key: BackupKey, label: Label) -> bytes:
    begin = file.read(len(_MAGIC) + 4)
    length = int.from_bytes(begin[len(_MAGIC) :], "big")
    header = file.read(length) if length <= _MOST_HEADER else b""
    try:
        said = json.loads(header)
        key_id, platform = str(said["key_id"]), str(said["platform"])
        place = (str(said["set"]), str(said["name"]))
        if not begin.startswith(_MAGIC):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise Finding(f"{path.name} is no sealed file, or its header was changed") from error
    if key_id != key.id:
        raise Finding(
            f"{path.name} is sealed with the key {key_id}, and the key given is {key.id}",
            hint="name its key file: --key, or MC_BACKUP_KEY_FILE",
        )
    if platform != label.platform:
        raise Finding(f"{path.name} is a backup of another platform ({platform})")
    if place != (label.set, label.name):
        raise Finding(f"{path.name} is {place[1]} of {place[0]}, expected {label.name}")
    return header


def _cipher(key: BackupKey, header: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"mc-backup-file" + header).derive(key.secret))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class Readable(io.RawIOBase):
    """The pieces of a stream as a file that `tarfile` reads."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """As many bytes as were asked for, fewer only at the end."""
        parts = [self._left]
        count = len(self._left)
        while size < 0 or count < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            parts.append(piece)
            count += len(piece)
        whole = b"".join(parts)
        cut = len(whole) if size < 0 else size
        self._left = whole[cut:]
        return whole[:cut]

    def drain(self) -> None:
        """Read to the end, so that the end is verified."""
        while self.read(_CHUNK):
            pass


def uncounted(_planned: int, _done: int) -> None:
    """Tell nobody how many bytes are done."""


def counting(pieces: Iterable[bytes], count: Callable[[int], None]) -> Iterator[bytes]:
    """The pieces as they are; `count` is told how many bytes of them were read so far."""
    done = 0
    for piece in pieces:
        done += len(piece)
        count(done)
        yield piece


def read_pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file's bytes in pieces of 256 KiB."""
    while piece := file.read(262_144):
        yield piece


def private(path: Path) -> IO[bytes]:
    """A new file, or an emptied one, that nobody else may read whatever the umask."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
