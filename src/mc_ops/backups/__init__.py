"""The backups' room: make, list, verify and restore backups of the platform's own PostgreSQL.

What is at rest is sealed (`sealed`), what is restored was verified before (`stage`), what is lost by it is
told one by one (`losses`), and the ledger goes on in its next epoch (`restore`).
"""

from mc_ops.backups.create import Made, create_backup
from mc_ops.backups.keys import BackupKey, make_key, read_key
from mc_ops.backups.lag import Lag, archive_written, lag_of
from mc_ops.backups.restore import Asked, Restore, finish, prepared
from mc_ops.backups.sealed import Count
from mc_ops.backups.stage import verify_backup
from mc_ops.backups.store import Backup, Store
from mc_ops.backups.wanted import (
    Wanted,
    read_wanted,
    usual_places,
    usual_wal_s,
)

__all__ = [
    "Asked",
    "Backup",
    "BackupKey",
    "Count",
    "Lag",
    "Made",
    "Restore",
    "Store",
    "Wanted",
    "archive_written",
    "create_backup",
    "finish",
    "lag_of",
    "make_key",
    "prepared",
    "read_key",
    "read_wanted",
    "usual_places",
    "usual_wal_s",
    "verify_backup",
]
