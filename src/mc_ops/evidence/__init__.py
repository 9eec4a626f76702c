"""Building evidence packs from what runs left behind and what the service says of itself.

The format and `verify` are in `mc_contract.evidence`, pure; here are files, keys and HTTP. Nothing
is invented: a source that gave nothing is a control that says so.

    parts = [canary_part(next(canaries(home / "runs"), None), ledger_key), *service_parts(url, ledger_key)]
    built = build(parts, release=release, ..., key=ensure_key(home))
    write_pack(out, built.raw)
"""

from __future__ import annotations

from mc_ops.evidence.build import (
    Built,
    build,
    check_target,
    read_file,
    release_name,
    write_pack,
)
from mc_ops.evidence.keys import ensure_key, key_path, load_key, trusted_keys
from mc_ops.evidence.parts import Part
from mc_ops.evidence.runs import (
    JOURNAL,
    LEDGER_KEY,
    PREFLIGHT,
    Found,
    canary_part,
    drill_in,
    drill_part,
    journal_part,
    newest_passed_run,
    preflight_part,
    redteam_in,
    redteam_part,
)
from mc_ops.evidence.service import COSIGNED, service_parts, serving_part
from mc_ops.evidence.unpack import extract

__all__ = [
    "COSIGNED",
    "JOURNAL",
    "LEDGER_KEY",
    "PREFLIGHT",
    "Built",
    "Found",
    "Part",
    "build",
    "canary_part",
    "check_target",
    "drill_in",
    "drill_part",
    "ensure_key",
    "extract",
    "journal_part",
    "key_path",
    "load_key",
    "newest_passed_run",
    "preflight_part",
    "read_file",
    "redteam_in",
    "redteam_part",
    "release_name",
    "service_parts",
    "serving_part",
    "trusted_keys",
    "write_pack",
]
