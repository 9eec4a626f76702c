"""Dead letters in PostgreSQL.

A wish to send one again is a row of `mc.dead_letter_resend`; whoever ships settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.model.dead_letter import DeadLetter, Matching, Selection

# Each with its newest wish
_LETTERS = """
SELECT p.sink, p.index, p.event_id, p.reason, p.parked_at AS refused_at,
    r.request, r.asked_at, r.settled_at, r.taken, r.reason AS again_reason
FROM mc.delivery_parked p LEFT JOIN LATERAL (
    SELECT * FROM mc.dead_letter_resend
    WHERE (region, sink, index) = (p.region, p.sink, p.index)
      AND ($2::text IS NULL OR request = $2)
    ORDER BY asked_at DESC, request LIMIT 1
) AS r ON true
WHERE p.region = $1
"""
_NOT_TAKEN = """
NOT EXISTS (
    SELECT FROM mc.dead_letter_resend t
    WHERE (t.region, t.sink, t.index) = (p.region, p.sink, p.index) AND t.taken)
"""
_PAGE = f"""
{_LETTERS} AND (p.index, p.sink) > ($3, $4)
  AND CASE WHEN $2::text IS NULL THEN {_NOT_TAKEN} ELSE r.request IS NOT NULL END
ORDER BY p.index, p.sink LIMIT $5
"""
_SELECTED = f"""
FROM (
    SELECT p.sink, p.index, p.event_id, EXISTS (
        SELECT FROM mc.dead_letter_resend w
        WHERE (w.region, w.sink, w.index) = (p.region, p.sink, p.index) AND w.settled_at IS NULL
    ) AS waits
    FROM mc.delivery_parked p
    WHERE p.region = $1 AND {_NOT_TAKEN} AND ($2::text[] IS NULL OR p.event_id = ANY ($2))
      AND ($3::timestamptz IS NULL OR p.parked_at >= $3)
      AND ($4::timestamptz IS NULL OR p.parked_at < $4)
) AS selected
"""  # noqa: S608 - constants only
# Counted here and asked for here: there may be a hundred thousand of them
_MATCHING = f"""
SELECT count(*) FILTER (WHERE NOT waits) AS count, count(*) FILTER (WHERE waits) AS waiting,
    min(index) FILTER (WHERE NOT waits) AS first_index,
    max(index) FILTER (WHERE NOT waits) AS last_index,
    coalesce(array_agg(event_id) FILTER (WHERE $2::text[] IS NOT NULL), '{{}}') AS known
{_SELECTED}
"""
_ASK = f"""
INSERT INTO mc.dead_letter_resend (region, sink, index, request)
SELECT $1, sink, index, $5 {_SELECTED} WHERE NOT waits AND index <= $6
ON CONFLICT DO NOTHING
"""


class PostgresDeadLetters:
    """One region's."""

    def __init__(self, pools: Pools, *, region: str) -> None:
        self._pools = pools
        self._region = region

    @wrapped("the dead letters cannot be read")
    async def page(self, after: str, limit: int, request: str | None) -> Sequence[DeadLetter]:
        """Those that no sink has taken since, or all of one request; by index and sink."""
        index, _, sink = after.partition("~")
        rows = await self._pools.record.fetch(_PAGE, self._region, request, int(index), sink, limit)
        return [DeadLetter(**row) for row in rows]

    @wrapped("the dead letters cannot be read")
    async def matching(self, selection: Selection) -> Matching:
        """What a selection comes to now."""
        row = await self._pools.record.fetchrow(_MATCHING, self._region, *_bounds(selection))
        assert row is not None  # an aggregate always has one
        return Matching(**row)

    @wrapped("that dead letters are wanted again cannot be kept")
    async def ask(self, selection: Selection, last_index: int, request: str) -> int:
        """Have those up to an index sent again that do not wait already; how many there were."""
        done = await self._pools.record.execute(
            _ASK, self._region, *_bounds(selection), request, last_index
        )
        return int(done.rpartition(" ")[2])


def _bounds(selection: Selection) -> tuple[Any, ...]:
    ids = None if selection.event_ids is None else list(selection.event_ids)
    return ids, selection.since, selection.until
