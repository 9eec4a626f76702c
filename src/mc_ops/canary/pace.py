"""How many pairs a second the baseline keeps up with, found before anything is measured.

A queue that only grows measures the machine and not the candidate: every request ends in a
timeout, on both sides alike. So the warm-up looks at the baseline's latency under the asked rate
beside its latency without load, and halves the rate until the two are of the same kind. The
candidate has no say: one that is slow must be held for it, not be given less to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mc_ops.canary.driver import PairDriver

_WARM_UP_S = 5.0
_WARM_UP_SHARE = 10  # at most a tenth of the planned pairs
_ALONE = 10
_MOST_HALVINGS = 4
# A queue that does not drain adds a second every few; what an ordinary one adds stays below this.
_TIMES, _ADDED_S = 2.0, 0.1


async def settle(driver: PairDriver, pairs: int) -> bool:
    """Warm both sides up; lower the driver's rate until the baseline keeps up with it.

    Args:
        driver: Its `rate` is the most; it is halved at most four times.
        pairs: The pairs planned to be measured.

    Returns:
        Whether the baseline kept up in the end (or failed for another reason than time, which
        the measurement will show).
    """
    limit_s = await _limit(driver)
    for halvings in range(_MOST_HALVINGS + 1):
        count = max(1, min(round(_WARM_UP_S * driver.rate), pairs // _WARM_UP_SHARE))
        latency_s = await driver.warm_up(count)
        recent = latency_s[count // 2 :]
        if driver.stopped or np.count_nonzero(recent > limit_s) * 2 <= recent.size:
            return True
        if halvings < _MOST_HALVINGS:
            driver.rate /= 2
    return False


async def _limit(driver: PairDriver) -> float:
    """Seconds above which the baseline's latency means a queue that grows."""
    alone = await driver.ask_alone(_ALONE)
    answered = alone[np.isfinite(alone)]
    return _TIMES * float(np.median(answered)) + _ADDED_S if answered.size else np.inf
