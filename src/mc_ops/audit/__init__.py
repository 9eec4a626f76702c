"""The auditor's room: verify the ledger, export parts of it, prove an event.

It believes the ledger's public key, checkpoints kept elsewhere, and arithmetic; not the service.
"""

from mc_ops.audit.client import AuditClient
from mc_ops.audit.epochs import verify_epochs
from mc_ops.audit.export import INDEX, Exported, export_tenant, moment, prove
from mc_ops.audit.files import load_checkpoint, load_public_key
from mc_ops.audit.log_pass import Finding
from mc_ops.audit.verify import Report, Saved, verify_log
from mc_ops.audit.witnesses import Demand, cosigned_json, demand, told, verifier_key_of

__all__ = [
    "INDEX",
    "AuditClient",
    "Demand",
    "Exported",
    "Finding",
    "Report",
    "Saved",
    "cosigned_json",
    "demand",
    "export_tenant",
    "load_checkpoint",
    "load_public_key",
    "moment",
    "prove",
    "told",
    "verifier_key_of",
    "verify_epochs",
    "verify_log",
]
