"""Stage 6: what happened, as events for the ledger; checkpoints, tiles and proofs over the ledger.

Events hold ids, labels with counts, keyed digests and reasons: never content or credentials.
"""

from mc_platform.record.checkpoints import CheckpointKeeper, Memory, ProcessMemory
from mc_platform.record.events import (
    AuditRecorder,
    EventFactory,
    act_ids,
    decision_detail,
    subject_id,
)
from mc_platform.record.fingerprints import ContentFingerprints
from mc_platform.record.keyed import Digester, Identity, Sealer, carried_id
from mc_platform.record.ledger import Archive, AuditLedger, StoredCheckpoint, Wanted
from mc_platform.record.proofs import Prover, TileKeeper, TileStore
from mc_platform.record.witness import LogWitness, WitnessTurn, memory_name
from mc_platform.record.witnesses import CosignedLog, CosignedNote, Cosigner, Witness

__all__ = [
    "Archive",
    "AuditLedger",
    "AuditRecorder",
    "CheckpointKeeper",
    "ContentFingerprints",
    "CosignedLog",
    "CosignedNote",
    "Cosigner",
    "Digester",
    "EventFactory",
    "Identity",
    "LogWitness",
    "Memory",
    "ProcessMemory",
    "Prover",
    "Sealer",
    "StoredCheckpoint",
    "TileKeeper",
    "TileStore",
    "Wanted",
    "Witness",
    "WitnessTurn",
    "act_ids",
    "carried_id",
    "decision_detail",
    "memory_name",
    "subject_id",
]
