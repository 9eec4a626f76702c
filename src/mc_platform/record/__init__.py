"""Stage 6: what happened, as events for the ledger; checkpoints over the ledger.

Events hold ids, labels with counts, keyed digests and reasons: never content or credentials.
"""

from mc_platform.record.checkpoints import CheckpointKeeper
from mc_platform.record.digest import Digester
from mc_platform.record.events import EventFactory

__all__ = ["CheckpointKeeper", "Digester", "EventFactory"]
