"""The body of `add-checkpoint` (C2SP tlog-witness), written and read: https://c2sp.org/tlog-witness."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mc_contract.canonical import NotCanonical, decode_base64, encode_base64
from mc_contract.ledger.checkpoint import (
    Checkpoint,
    CheckpointError,
    parse_checkpoint,
    split_note,
)
from mc_contract.ledger.merkle import EMPTY_ROOT, HASH_BYTES
from mc_platform.errors import BadRequest

SIZE_TYPE = "text/x.tlog.size"
MOST_BODY_BYTES = 32 * 1024
MOST_PROOF_LINES = 63
MOST_SIZE = 2**63 - 1
_OLD = re.compile("old (0|[1-9][0-9]{0,18})")
_SIZE = re.compile("(0|[1-9][0-9]{0,18})\n")
_HINT = "the form is that of C2SP tlog-witness, add-checkpoint: https://c2sp.org/tlog-witness"


@dataclass(frozen=True, slots=True)
class Submission:
    """A request for a cosignature; nothing of it is verified.

    Attributes:
        old: The size that the proof begins at.
        text: The checkpoint's text, which is signed.
        note: The whole signed note.
    """

    old: int
    proof: Sequence[bytes]
    text: str
    note: str
    checkpoint: Checkpoint


def submission_body(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The request's body."""
    lines = [f"old {old}", *map(encode_base64, proof), "", ""]
    return ("\n".join(lines) + note).encode()


def read_submission(body: bytes) -> Submission:
    """What a request asks.

    Raises:
        BadRequest: it is not in the protocol's form, or its old size is above the new one.
    """
    try:
        head, found, note = body.decode().partition("\n\n")
        old_line, *proof_lines = head.split("\n")
        old = _OLD.fullmatch(old_line)
        if not found or old is None:
            raise BadRequest("expected `old SIZE`, proof lines, an empty line, a checkpoint")
        if len(proof_lines) > MOST_PROOF_LINES:
            raise BadRequest(f"{len(proof_lines)} proof lines, at most {MOST_PROOF_LINES}")
        proof = [decode_base64(line) for line in proof_lines]
        text, _ = split_note(note)
        checkpoint = parse_checkpoint(text)
    except BadRequest as error:
        raise BadRequest(error.message, hint=_HINT) from error
    except (UnicodeDecodeError, NotCanonical, CheckpointError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.message
        raise BadRequest(f"the request cannot be read: {why}", hint=_HINT) from error
    if any(len(hashed) != HASH_BYTES for hashed in proof):
        raise BadRequest(f"a hash of the proof has not {HASH_BYTES} bytes", hint=_HINT)
    if not int(old[1]) <= checkpoint.size <= MOST_SIZE:
        raise BadRequest(
            f"old size {old[1]}, checkpoint of size {checkpoint.size}: expected old <= size < 2^63"
        )
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise BadRequest("an empty log has one root, and this checkpoint of size 0 another")
    return Submission(int(old[1]), proof, text, note, checkpoint)


def read_size(body: bytes) -> int | None:
    """The size that a witness names in a 409; None: it names none."""
    found = _SIZE.fullmatch(body.decode(errors="replace"))
    return int(found[1]) if found and int(found[1]) <= MOST_SIZE else None
