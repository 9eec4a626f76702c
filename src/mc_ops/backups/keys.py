"""The key that seals backups: a key of its own, in a file that belongs elsewhere than the backups.

The file holds 32 random bytes as base64url in one line, 0600. The key's id is derived from it and says
nothing of it; it stands in every sealed file, so that the right key is found years later.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited, write_atomically

_BYTES = 32


@dataclass(frozen=True, slots=True)
class BackupKey:
    """A key and its id."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Twelve hex digits."""
        return hmac.new(self.secret, b"mc-backup-key-id", hashlib.sha256).hexdigest()[:12]

    def mac(self, content: bytes) -> str:
        """What shows that whoever has the key wrote `content`, a backup's description."""
        own = hmac.new(self.secret, b"mc-backup-manifest", hashlib.sha256).digest()
        return hmac.new(own, content, hashlib.sha256).hexdigest()


def read_key(path: Path) -> BackupKey:
    """The key in a file.

    Raises:
        UnusableInput: it cannot be read, is readable by others, or holds no key.
    """
    text = read_limited(path, 1024)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UnusableInput(f"{path} can be read by others", hint=f"chmod 600 {path}")
    try:
        secret = base64.urlsafe_b64decode(text.strip() + b"=")
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise UnusableInput(
            f"{path} holds no backup key", hint="it is one line of 43 characters, base64url"
        )
    return BackupKey(secret)


def make_key(path: Path) -> BackupKey:
    """The key in a file, which is made if it is not there.

    Raises:
        UnusableInput: as `read_key`; or the folder cannot be written.
    """
    if not path.exists():
        try:
            line = secrets.token_urlsafe(_BYTES) + "\n"
            write_atomically(path, line, replace=False)
        except FileExistsError:
            pass
        except OSError as error:
            raise UnusableInput(
                f"{path} cannot be made: {os.strerror(error.errno or 0)}"
            ) from error
    return read_key(path)
