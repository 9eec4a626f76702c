"""Evidence packs: what a release claims, recomputable from what the pack holds, signed.

    keys = load_trusted_keys(Path("trust/evidence.pub").read_bytes())
    report = verify(Path("dist/evidence-v1.json").read_bytes(), keys, expect_release="v1")
    report.ok, report.reasons, report.verdict

Pure: bytes in, values out. `docs/how-to/evidence.md` tells the format and how to check a pack with other
people's tools.
"""

from __future__ import annotations

from mc_contract.evidence.dsse import (
    PrivateKey,
    TrustedKey,
    UnusableKey,
    key_id,
    load_private_key,
    load_trusted_keys,
)
from mc_contract.evidence.pack import Pack, PackError, build_pack, read_pack, resembles_pack
from mc_contract.evidence.statement import Claim, Control, Release, Statement, Status
from mc_contract.evidence.verify import Report, verify

__all__ = [
    "Claim",
    "Control",
    "Pack",
    "PackError",
    "PrivateKey",
    "Release",
    "Report",
    "Statement",
    "Status",
    "TrustedKey",
    "UnusableKey",
    "build_pack",
    "key_id",
    "load_private_key",
    "load_trusted_keys",
    "read_pack",
    "resembles_pack",
    "verify",
]
