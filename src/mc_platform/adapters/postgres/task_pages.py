"""The query of a page of tasks: only what is asked for stands in it.

A condition that is there and switched off (`$2 IS NULL OR ...`) hides from the planner which index
serves; each set of filters is a statement of its own, and each has an index in the order of the
page (`migrations/0031_task_queries.sql`), so a page costs its own rows however many tasks there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from mc_platform.model.ids import ContextId, PrincipalId, TaskId, TenantId

BUT_PARTS = (
    "id, context_id, tenant, principal, message_id, request_digest, state, updated_at,"
    " status_text, governance, flow"
)
_FILTERS = {
    "principal": "principal = {}",
    "context_id": "context_id = {}",
    "state": "state = {}",
    "before": "(updated_at, id) < ({}, {})",
    "since": "updated_at >= {}",
}


def _conditions(filters: frozenset[str], *, first: int) -> str:
    """Those of a set of filters, whose values are `$first` and on."""
    conditions, next_ = ["tenant = $1"], first
    for name, form in _FILTERS.items():
        if name in filters:
            places = [f"${next_ + at}" for at in range(form.count("{}"))]
            next_ += len(places)
            conditions.append(form.format(*places))
    return " AND ".join(conditions)


@cache
def page_sql(filters: frozenset[str], *, replies: bool) -> str:
    """The statement for a set of filters, whose values are $4 and on, in the order of `_FILTERS`.

    $1 is the tenant, $2 the limit, $3 the most bytes of replies: a page with replies ends before
    the one with which they would be too many.
    """
    parts = "parts::text" if replies else "'[]'"
    return f"""
SELECT * FROM (
    SELECT *, count(*) OVER () AS found, sum(octet_length(parts)) OVER newest AS so_far
    FROM (
        SELECT {BUT_PARTS}, {parts} AS parts
        FROM mc.task WHERE {_conditions(filters, first=4)}
        ORDER BY updated_at DESC, id DESC LIMIT $2
    ) AS all_of_it
    WINDOW newest AS (ORDER BY updated_at DESC, id DESC)
) AS counted
WHERE so_far <= $3 OR so_far = octet_length(parts) ORDER BY updated_at DESC, id DESC
"""  # noqa: S608 - constants and places of arguments


@cache
def total_sql(filters: frozenset[str]) -> str:
    """The statement that counts, up to $2, what a set of filters finds; values are $3 and on."""
    found = f"SELECT FROM mc.task WHERE {_conditions(filters, first=3)} LIMIT $2"
    return f"SELECT count(*) FROM ({found}) AS found"  # noqa: S608 - constants and places


def page_query(
    tenant: TenantId,
    *,
    principal: PrincipalId | None = None,
    context_id: ContextId | None = None,
    state: str | None = None,
    before: tuple[datetime, TaskId] | None = None,
    since: datetime | None = None,
    limit: int,
    most_bytes: int,
    replies: bool,
) -> tuple[str, Sequence[Any]]:
    """The statement of a page and its arguments; `limit` rows at most, newest first."""
    wanted, arguments = _wanted(principal, context_id, state, before, since)
    return page_sql(wanted, replies=replies), [tenant, limit, most_bytes, *arguments]


def total_query(
    tenant: TenantId,
    *,
    principal: PrincipalId,
    context_id: ContextId | None,
    state: str | None,
    since: datetime | None,
    most: int,
) -> tuple[str, Sequence[Any]]:
    """The statement that counts what a listing finds, up to `most`, and its arguments."""
    wanted, arguments = _wanted(principal, context_id, state, None, since)
    return total_sql(wanted), [tenant, most, *arguments]


def _wanted(
    principal: PrincipalId | None,
    context_id: ContextId | None,
    state: str | None,
    before: tuple[datetime, TaskId] | None,
    since: datetime | None,
) -> tuple[frozenset[str], Sequence[Any]]:
    given: dict[str, tuple[Any, ...] | None] = {
        "principal": None if principal is None else (principal,),
        "context_id": None if context_id is None else (context_id,),
        "state": None if state is None else (state,),
        "before": before,
        "since": None if since is None else (since,),
    }
    wanted = {name: values for name in _FILTERS if (values := given[name]) is not None}
    arguments = [value for values in wanted.values() for value in values]
    return frozenset(wanted), arguments
