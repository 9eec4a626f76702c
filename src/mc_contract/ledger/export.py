"""A ledger export: entries with their proofs and one signed checkpoint, in one JSON file.

    {"format": "mc-ledger-export", "version": 1, "region", "tenant", "since", "until",
     "checkpoint": signed note, "entries": [{"leaf": base64, "index", "proof": [base64]}],
     "sha256": hex, of the canonical JSON of all the other fields}

What a verified export proves: each of its entries stands, at its index and with these very bytes,
in the log whose head the checkpoint's signer signed. It does not prove that none was left out:
only a pass over the whole log shows that. `tenant` is checked against every leaf; `since` and
`until` say what was asked for, by the database's time of recording, which nobody signed. The
digest finds damage, and proves nothing: who changes those two can compute it anew.

Verifies with this package alone; as a program too:

    python -m mc_contract.ledger.export EXPORT.json LEDGER.pub
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc_contract.canonical import canonical_json, encode_base64
from mc_contract.errors import McError
from mc_contract.ledger.checkpoint import (
    Checkpoint,
    CheckpointError,
    LogKeys,
    read_public_keys,
    verify_checkpoint,
)
from mc_contract.ledger.entry import EntryError, strict_base64
from mc_contract.ledger.merkle import ProofError, leaf_hash, verify_inclusion

FORMAT = "mc-ledger-export"
VERSION = 1
MAX_EXPORT_BYTES = 512 * 1024 * 1024
_BEGIN = b'{"checkpoint":'  # the first field in canonical order
_ORIGIN = "mc-platform.example.com/ledger/"
_FIELDS = frozenset(
    {"format", "version", "region", "tenant", "since", "until", "checkpoint", "entries", "sha256"}
)


class ExportError(McError):
    """An export is malformed, or does not verify."""

    code = "ledger-export"


class NoExport(ExportError):
    """The file is no export that this version could read: nothing is said of any ledger."""


@dataclass(frozen=True, slots=True)
class ProvenLeaf:
    """A leaf's bytes, its index, and its audit path at the export's checkpoint."""

    index: int
    leaf: bytes
    proof: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class VerifiedExport:
    """What an export that verified says.

    Attributes:
        tenant: Whose entries alone are in it; empty when it is about single events.
        leaves: The entries, decoded, by index.
        note: The signed note of `checkpoint`; cosignatures in it are not looked at.
    """

    checkpoint: Checkpoint
    region: str
    tenant: str
    since: str
    until: str
    leaves: Sequence[Mapping[str, Any]]
    note: str


def log_origin(region: str) -> str:
    """The identity of a region's log, as its checkpoints' first line and its key's name."""
    return f"{_ORIGIN}{region}"


def verify_log_checkpoint(note: str, key: LogKeys) -> Checkpoint:
    """The checkpoint of a note that `key` signed as some region's log.

    Raises:
        CheckpointError: the note is malformed, `key` did not sign it, or it is no ledger's.
    """
    origin = note.partition("\n")[0]
    if not origin.startswith(_ORIGIN):
        raise CheckpointError("the checkpoint is not that of a ledger of MC Platform")
    return verify_checkpoint(note, {origin: key})


def region_of(checkpoint: Checkpoint) -> str:
    """The region whose log it is."""
    return checkpoint.origin.removeprefix(_ORIGIN)


class ExportWriter:
    """Writes an export entry by entry: canonical JSON and a newline. Nothing is verified here.

    `bytes_written` counts; the file is an export only after `end`.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        *,
        region: str,
        checkpoint: str,
        tenant: str = "",
        since: str = "",
        until: str = "",
    ) -> None:
        self.bytes_written = 0
        self._write = write
        self._digest = hashlib.sha256()
        self._rest = {
            "format": FORMAT,
            "version": VERSION,
            "region": region,
            "tenant": tenant,
            "since": since,
            "until": until,
        }
        self._between = b""
        head = canonical_json({"checkpoint": checkpoint, "entries": []})
        self._put(head.removesuffix(b"]}"))

    def add(self, leaf: ProvenLeaf) -> None:
        """Write one more entry; its index must be above that of the one before."""
        entry = {
            "index": leaf.index,
            "leaf": encode_base64(leaf.leaf),
            "proof": [encode_base64(hashed) for hashed in leaf.proof],
        }
        self._put(self._between + canonical_json(entry))
        self._between = b","

    def end(self) -> None:
        """Write what stands after the entries."""
        self._put(b"],")
        self._digest.update(canonical_json(self._rest)[1:])
        whole = canonical_json({**self._rest, "sha256": self._digest.hexdigest()})
        self._put(whole[1:] + b"\n")

    def _put(self, raw: bytes) -> None:
        self._digest.update(raw)
        self._write(raw)
        self.bytes_written += len(raw)


def write_export(
    *,
    region: str,
    checkpoint: str,
    leaves: Sequence[ProvenLeaf],
    tenant: str = "",
    since: str = "",
    until: str = "",
) -> bytes:
    """The export's file, as `ExportWriter` writes it."""
    parts: list[bytes] = []
    writer = ExportWriter(
        parts.append, region=region, checkpoint=checkpoint, tenant=tenant, since=since, until=until
    )
    for leaf in leaves:
        writer.add(leaf)
    writer.end()
    return b"".join(parts)


def verify_export(raw: bytes, key: LogKeys) -> VerifiedExport:
    """Check an export with the ledger's public key, which must come from outside of it.

    The file must be spelled as `write_export` spells it, so no byte of it goes unchecked.

    Raises:
        NoExport: it is no export, or one of another version.
        ExportError: it is malformed or does not verify; the message names the entry.
    """
    value = _parsed(raw)
    try:
        checkpoint = verify_log_checkpoint(value["checkpoint"], key)
    except CheckpointError as error:
        raise ExportError(f"the export's checkpoint does not verify: {error.message}") from error
    if checkpoint.origin != log_origin(value["region"]):
        raise ExportError(f"the checkpoint is not that of region {value['region']!r}")
    leaves: list[Mapping[str, Any]] = []
    before = -1
    for item in value["entries"]:
        proven = _proven(item)
        if proven.index <= before:
            raise ExportError(f"entry {proven.index} stands after entry {before}")
        before = proven.index
        leaves.append(
            verify_leaf(proven, checkpoint, region=value["region"], tenant=value["tenant"])
        )
    return VerifiedExport(
        checkpoint=checkpoint,
        region=value["region"],
        tenant=value["tenant"],
        since=value["since"],
        until=value["until"],
        leaves=leaves,
        note=value["checkpoint"],
    )


def _parsed(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_EXPORT_BYTES:
        raise NoExport(f"the export is larger than {MAX_EXPORT_BYTES} bytes")
    try:
        value = json.loads(raw)
        spelled = canonical_json(value) + b"\n"
    except (ValueError, RecursionError, McError) as error:
        # What begins as an export does, or calls itself one, was one, and has been cut or changed
        ours = raw.startswith(_BEGIN) or FORMAT.encode() in raw
        kind = ExportError if ours else NoExport
        raise kind("the export is not JSON") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise NoExport("this is no ledger export")
    if value.get("version") != VERSION or isinstance(value["version"], bool):
        raise NoExport(f"version {value.get('version')!r} is not known, expected {VERSION}")
    texts = _FIELDS - {"version", "entries"}
    if (
        set(value) != _FIELDS
        or not isinstance(value["entries"], list)
        or not all(isinstance(value[name], str) for name in texts)
    ):
        raise ExportError("the export's fields are not those of version 1")
    rest = {name: item for name, item in value.items() if name != "sha256"}
    if spelled != raw or value["sha256"] != _digest(rest):
        raise ExportError("the export is damaged: it is not as it was written")
    return value


def _proven(item: object) -> ProvenLeaf:
    if not isinstance(item, dict) or set(item) != {"index", "leaf", "proof"}:
        raise ExportError("an entry of the export is malformed")
    index, proof = item["index"], item["proof"]
    if type(index) is not int or not isinstance(proof, list):
        raise ExportError("an entry of the export is malformed")
    try:
        hashes = [strict_base64(hashed) for hashed in proof]
        return ProvenLeaf(index, strict_base64(item["leaf"]), hashes)
    except EntryError as error:
        raise ExportError(f"entry {index}: {error.message}") from error


def verify_leaf(
    proven: ProvenLeaf, checkpoint: Checkpoint, *, region: str, tenant: str
) -> Mapping[str, Any]:
    """The entry, decoded, with its index.

    Args:
        proven: With its proof at the checkpoint.
        checkpoint: Verified by the caller.
        region: Whose log it is.
        tenant: Whose entry it must be; empty: anyone's.

    Raises:
        ExportError: it is not in the log, or is another region's or tenant's.
    """
    try:
        verify_inclusion(
            leaf=leaf_hash(proven.leaf),
            index=proven.index,
            size=checkpoint.size,
            proof=proven.proof,
            root=checkpoint.root,
        )
    except ProofError as error:
        raise ExportError(f"entry {proven.index} is not proven: {error.message}") from error
    said = json.loads(proven.leaf)
    if said["region"] != region or tenant not in ("", said["tenant"]):
        raise ExportError(f"entry {proven.index} is another region's or another tenant's")
    result: Mapping[str, Any] = {"index": proven.index, **said}
    return result


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(dict(value))).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Verify a file with a PEM key; 0 it verifies, 1 it does not, 2 usage or an unusable file."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m mc_contract.ledger.export EXPORT.json LEDGER.pub\n")
        return 2
    try:
        key = read_public_keys(Path(arguments[1]).read_bytes())
        found = verify_export(Path(arguments[0]).read_bytes(), key)
    except OSError as error:
        sys.stderr.write(f"{error.filename} cannot be read: {error.strerror}\n")
        return 2
    except (NoExport, CheckpointError) as error:
        sys.stderr.write(f"cannot tell: {error.message}\n")
        return 2
    except ExportError as error:
        sys.stderr.write(f"does not verify: {error.message}\n")
        return 1
    count = len(found.leaves)
    sys.stdout.write(
        f"verified: {count} {'entry is' if count == 1 else 'entries are'} in the log of "
        f"{found.region} at size {found.checkpoint.size}; that none was left out is not proven "
        "by an export\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
