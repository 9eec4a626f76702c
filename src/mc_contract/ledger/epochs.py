"""Epochs of a region's log: how their logs are called, and what the first entry of one says.

A region's first log bears the region's name, `local-1`. A restore from a backup ends it where the
backup ends and begins `local-1/e2`, then `local-1/e3`: nobody continues an old name with another
history. The first entry of a new epoch's log binds how the former log ended:

    {"subject": LOG, "epoch", "former": {"log", "size", "root"}, "restore", "restored_to", "backup",
     "last_signed": {"log", "size", "root", "note", "source"} | null, "report", "by", "reason"}

`former` is the log that the restored database holds, as far as it goes. `last_signed` is the
greatest checkpoint that is known to have been signed, wherever that was known from; entries of it
that are beyond `former` are lost here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from mc_contract.errors import McError
from mc_contract.ledger.merkle import HASH_BYTES

EPOCH_BEGAN = "ledger.epoch-began"
"""The kind of the first entry of every epoch but the first."""
_LOG = re.compile(r"([a-z][a-z0-9-]{0,30})(?:/e([2-9]|[1-9][0-9]{1,5}))?")


class EpochError(McError):
    """What should be the name of a log, or the first entry of an epoch, is not."""

    code = "ledger-epoch"


@dataclass(frozen=True, slots=True)
class LogName:
    """A region's log of one epoch."""

    region: str
    epoch: int = 1

    def __str__(self) -> str:
        return self.region if self.epoch == 1 else f"{self.region}/e{self.epoch}"

    @property
    def as_file_name(self) -> str:
        """The name where `/` cannot stand."""
        return file_name(str(self))

    @classmethod
    def parse(cls, text: str) -> LogName:
        """Read `REGION` or `REGION/eN`.

        Raises:
            EpochError: it is neither.
        """
        found = _LOG.fullmatch(text)
        if found is None:
            raise EpochError(f"{text[:80]!r} is not the name of a log: REGION or REGION/eN")
        return cls(found[1], int(found[2] or 1))


@dataclass(frozen=True, slots=True)
class Ended:
    """A log, and how far it goes; `root` has 32 bytes."""

    log: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the first entry of an epoch says.

    Attributes:
        former: The log before it, as the restored database holds it.
        last_signed: The greatest checkpoint known to have been signed; None: none was known.
        note: That checkpoint's signed note.
    """

    log: str
    former: Ended
    last_signed: Ended | None
    note: str
    restored_to: str

    @property
    def lost(self) -> int:
        """How many signed entries of the former log are known not to be in it."""
        signed = self.last_signed
        if signed is None or signed.log != self.former.log:
            return 0
        return max(0, signed.size - self.former.size)


def file_name(log: str) -> str:
    """A log's name as a part of a file's name."""
    return log.replace("/", ".")


def read_beginning(leaf: bytes) -> Beginning | None:
    """What the first entry of a log says of the log before it; None: it is a region's first log.

    Raises:
        EpochError: it begins an epoch and does not say how.
    """
    try:
        said = json.loads(leaf)
        if said["kind"] != EPOCH_BEGAN:
            return None
        detail = said["detail"]
        signed = detail["last_signed"]
        return Beginning(
            log=str(LogName.parse(said["region"])),
            former=_ended(detail["former"]),
            last_signed=None if signed is None else _ended(signed),
            note="" if signed is None else str(signed["note"]),
            restored_to=str(detail["restored_to"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise EpochError(f"the first entry of an epoch is malformed: {error}") from error


def _ended(value: dict[str, object]) -> Ended:
    log, size, root = value["log"], value["size"], bytes.fromhex(str(value["root"]))
    if type(size) is not int or size < 0 or len(root) != HASH_BYTES:
        raise EpochError("a log's end is a size from 0 and a root of 32 bytes")
    return Ended(str(LogName.parse(str(log))), size, root)
