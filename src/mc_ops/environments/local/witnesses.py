"""Two regions of one home as each other's witnesses: keys, and the file in which a region names the other.

The file stands beside `peers.json`; a region's replicas read it at start, and again when they are asked to
cosign a log that is not in it: so the next epoch of a restored region is witnessed without a restart. Whose epochs
are added is what `mcctl up` finds, which a person runs.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable

from mc_contract.ledger.checkpoint import ED25519, read_public_keys, verifier_key
from mc_contract.ledger.cosignature import COSIGNATURE, cosigner_name, parse_verifier_key
from mc_contract.ledger.export import log_origin
from mc_ops.environments.local import keyring
from mc_ops.environments.local.layout import Layout
from mc_ops.files import write_atomically


def name_witness(
    own: Layout, peer: Layout, region: str, url: str, logs: Iterable[str] = ()
) -> None:
    """Name the peer as the witness of a region, and its logs as those that the region witnesses.

    Args:
        own: The region whose file it is; both have their secrets.
        region: The peer's name.
        url: Where the peer answers, as replicas of the region reach it.
        logs: The peer's, as far as they are known; those that the file has stay.
    """
    witness = verifier_key(
        cosigner_name(region), keyring.witness_key(peer).public_key(), COSIGNATURE
    )
    origins = dict.fromkeys([log_origin(region), *_known(own, region), *map(log_origin, logs)])
    keys = read_public_keys(peer.ledger_key.read_bytes())
    lines = ["[[witness]]", 'name = "peer"', f"url = {json.dumps(f'{url}/witness')}"]
    lines.append(f"key = {json.dumps(witness)}")
    for origin in origins:
        for key in keys:
            lines += ["[[log]]", f"key = {json.dumps(verifier_key(origin, key))}"]
    text = "\n".join(lines) + "\n"
    if not own.witnesses_file.exists() or own.witnesses_file.read_text("utf-8") != text:
        write_atomically(own.witnesses_file, text)
    write_atomically(own.home / "trust" / "witnesses.txt", f"{witness}\n", mode=0o644)


def _known(own: Layout, region: str) -> list[str]:
    """The logs of the peer that the file names already."""
    if not own.witnesses_file.exists():
        return []
    entries = tomllib.loads(own.witnesses_file.read_text("utf-8")).get("log", [])
    names = [parse_verifier_key(one["key"], ED25519).name for one in entries]
    return [name for name in names if name.startswith(f"{log_origin(region)}/")]
