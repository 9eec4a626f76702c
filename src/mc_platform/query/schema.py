"""The GraphQL schema. Every query is bound to the credential's tenant, and decided by policy.

Depth and aliases are limited by module-level rules, so that the validation cache holds.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import strawberry
import structlog
from graphql import ASTValidationRule, GraphQLError
from starlette.requests import Request
from starlette.responses import Response
from strawberry.asgi import GraphQL
from strawberry.extensions import (
    AddValidationRules,
    MaxTokensLimiter,
    ParserCache,
    ValidationCache,
)
from strawberry.extensions.max_aliases import create_validator as create_alias_rule
from strawberry.extensions.query_depth_limiter import create_validator as create_depth_rule
from strawberry.http import GraphQLHTTPResponse
from strawberry.types import ExecutionContext, ExecutionResult, Info

from mc_platform.errors import RateLimited, Unavailable
from mc_platform.model.event import LedgerRow
from mc_platform.model.ids import TaskId
from mc_platform.model.task import Task
from mc_platform.model.tenant import Principal
from mc_platform.ports import Records, Tasks

_MOST = 200


@dataclass(frozen=True, slots=True)
class Reader:
    """What resolvers need for one request."""

    principal: Principal
    tasks: Tasks
    records: Records


@strawberry.type(description="A recorded event.")
class LedgerEvent:
    """See `mc_platform.model.event.LedgerRow`; `detail` is JSON text."""

    index: str
    id: str
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    detail: str


@strawberry.type(description="A task: a forwarded question or an operation.")
class TaskView:
    """See `mc_platform.model.task.Task`; `governance` is JSON text."""

    id: str
    context_id: str
    state: str
    status_text: str
    updated_at: datetime
    governance: str


def _event(row: LedgerRow) -> LedgerEvent:
    return LedgerEvent(
        index=str(row.index),
        id=row.leaf["id"],
        kind=row.leaf["kind"],
        occurred_at=datetime.fromisoformat(row.leaf["occurred_at"]),
        recorded_at=row.recorded_at,
        detail=json.dumps(row.leaf["detail"], sort_keys=True),
    )


def _task(task: Task) -> TaskView:
    return TaskView(
        id=task.id,
        context_id=task.context_id,
        state=task.state.value,
        status_text=task.status_text,
        updated_at=task.updated_at,
        governance=json.dumps(dict(task.governance), sort_keys=True),
    )


def _bounded(first: int) -> int:
    if not 1 <= first <= _MOST:
        raise ValueError(f"first must be 1 to {_MOST}, got {first}")
    return first


@strawberry.type
class Query:
    """What a tenant may read of itself."""

    # NOTE: `strawberry.field` with a description is untyped in this version, hence the ignores.
    @strawberry.field(description="The credential's tenant.")  # type: ignore[untyped-decorator]
    def tenant(self, info: Info[Reader, None]) -> str:
        """The tenant that all other fields speak of."""
        return info.context.principal.tenant

    @strawberry.field(description="Recorded events, newest first; `before` is an index.")  # type: ignore[untyped-decorator]
    async def events(
        self, info: Info[Reader, None], first: int = 50, before: str | None = None
    ) -> list[LedgerEvent]:
        """The tenant's part of the ledger."""
        reader = info.context
        rows = await reader.records.newest(
            reader.principal.tenant,
            limit=_bounded(first),
            before=None if before is None else int(before),
        )
        return [_event(row) for row in rows]

    @strawberry.field(description="One task, or null.")  # type: ignore[untyped-decorator]
    async def task(self, info: Info[Reader, None], id: str) -> TaskView | None:
        """A task of the tenant."""
        reader = info.context
        found = await reader.tasks.get(reader.principal.tenant, TaskId(id))
        return None if found is None else _task(found)

    @strawberry.field(description="Tasks, newest first.")  # type: ignore[untyped-decorator]
    async def tasks(
        self, info: Info[Reader, None], first: int = 50, state: str | None = None
    ) -> list[TaskView]:
        """The tenant's tasks."""
        reader = info.context
        page: Sequence[Task] = await reader.tasks.page(
            reader.principal.tenant,
            principal=None,
            context_id=None,
            state=state,
            limit=_bounded(first),
            before=None,
        )
        return [_task(task) for task in page]


class _Schema(strawberry.Schema):
    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Log that a query failed, and how: the library would log the query, with what is in it."""
        del execution_context
        for error in errors:
            cause = error.original_error
            _log.info("graphql_failed", error=type(cause).__name__ if cause else "invalid query")


_log = structlog.get_logger()
_RULES: list[type[ASTValidationRule]] = [create_depth_rule(8, None), create_alias_rule(15)]
_SCHEMA = _Schema(
    Query,
    extensions=[
        lambda: MaxTokensLimiter(max_token_count=1000),
        lambda: AddValidationRules(_RULES),
        lambda: ParserCache(maxsize=256),
        lambda: ValidationCache(maxsize=256),
    ],
)


class _App(GraphQL[Any, Any]):
    """Strawberry's ASGI app with our context; GraphiQL is off: it loads from elsewhere."""

    def __init__(self, reader: Callable[[Request], Awaitable[Reader]]) -> None:
        super().__init__(_SCHEMA, graphql_ide=None, allow_queries_via_get=False)
        self._reader = reader

    async def get_context(self, request: Any, response: Response | Any) -> Any:  # noqa: ARG002
        return await self._reader(request)

    async def process_result(
        self, request: Request, result: ExecutionResult
    ) -> GraphQLHTTPResponse:
        """Answer 429 or 503 as everywhere if a field found no free place, or no database."""
        for error in result.errors or ():
            if isinstance(error.original_error, RateLimited | Unavailable):
                raise error.original_error
        return await super().process_result(request, result)


def graphql_app(
    *,
    principal_of: Callable[[Request], Principal],
    permit: Callable[[Principal], Awaitable[None]],
    tasks: Tasks,
    records: Records,
) -> Any:
    """The ASGI app.

    Args:
        permit: Raises `PolicyDenied` when policy forbids the principal to read records.
    """

    async def reader(request: Request) -> Reader:
        principal = principal_of(request)
        await permit(principal)
        return Reader(principal, tasks, records)

    return _App(reader)
