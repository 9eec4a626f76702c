"""What a drill's operations did at their receiver: nothing twice, nothing half, nothing by a former home.

The sample receiver lists each effect with its idempotency key, which begins with the operation's id, and with
the fencing token that its call bore. It honours keys: one that came twice has one effect.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mc_contract.drill import Request
from mc_ops.service_client.http import HttpClient

RECEIVER = "fulfilment-agent"
_STEPS = 3  # of `place-order`
_ID_LENGTH = 36


def effects_at(url: str) -> list[dict[str, Any]]:
    """All effects and undos, in order.

    Raises:
        CouldNotTell: the receiver does not answer.
    """
    with HttpClient(url) as client:
        found: list[dict[str, Any]] = client.reach("GET", "/effects").json()["effects"]
        return found


def judge(effects: Sequence[Mapping[str, Any]], rows: Iterable[Request]) -> dict[str, int]:
    """Count what must not be, of the effects since the drill began.

    Returns:
        `done`: operations that ended, whole or undone. `twice`: keys with more than one effect. `half`: operations
        of which a part stands, or that were acknowledged and did nothing, unless they are lost for good. `unknown`: operations with effects that no client was
        told of, beyond those that got no answer. `former`: effects with an older fencing token than one before them of
        the same tenant.
    """
    asked = [row for row in rows if row.operation]
    acknowledged = {row.task for row in asked if row.outcome == "acknowledged"}
    # With its disk a region loses what it had begun: counted as lost, and nobody is left to end it
    gone = {row.task for row in asked if row.found_later is False}
    verbs: defaultdict[str, Counter[str]] = defaultdict(Counter)
    keys: Counter[str] = Counter()
    newest: Counter[str] = Counter()  # by tenant
    former = 0
    for effect in effects:
        task = str(effect["key"])[:_ID_LENGTH]
        verbs[task][effect["verb"]] += 1
        keys[effect["key"]] += 1
        term, _, tenant = str(effect["home_term"] or "0").partition(";")
        former += int(term) < newest[tenant]
        newest[tenant] = max(newest[tenant], int(term))
    whole = {task for task, count in verbs.items() if _is_whole(count)}
    strangers = len(set(verbs) - acknowledged)
    return {
        "done": len(whole),
        "twice": sum(count > 1 for count in keys.values()),
        "half": len((acknowledged | set(verbs)) - whole - gone),
        "unknown": max(0, strangers - sum(row.outcome != "acknowledged" for row in asked)),
        "former": former,
    }


def _is_whole(count: Counter[str]) -> bool:
    return count["do"] - count["undo"] in (0, _STEPS)
