"""The GraphQL schema. Every query is bound to the credential's tenant, and decided by policy.

A query is bounded before it is read: bytes, tokens, depth, aliases. Validation compares each pair of
a document's fields, so tokens are what it costs by: 250 of them take about 15 ms, 1000 take 170.
Depth and aliases are limited by module-level rules, so that the validation cache holds.

Answers by `application/json`: 400 with `errors` for what is no request or no valid query, 200 for
what was executed. Errors tell what the caller can mend; a defect is told by an incident id.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import strawberry
import structlog
from graphql import ASTValidationRule, GraphQLError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from strawberry.extensions import AddValidationRules, MaxTokensLimiter, ParserCache, ValidationCache
from strawberry.extensions.max_aliases import create_validator as create_alias_rule
from strawberry.extensions.query_depth_limiter import create_validator as create_depth_rule
from strawberry.types import ExecutionContext, Info

from mc_contract.errors import McError
from mc_platform.errors import BadRequest, PlatformError, RateLimited, Unavailable
from mc_platform.model.event import LedgerRow
from mc_platform.model.ids import TaskId
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Action
from mc_platform.ports import Records, Tasks
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import read_body

_MOST = 200
_MAX_QUERY_BYTES = 8192
_MAX_TOKENS = 250
_MAX_DEPTH, _MAX_ALIASES = 8, 15
# A document of so many tokens takes some 150 KiB, so each cache stays below 10 MiB
_CACHED_QUERIES = 64
_MOST_ERRORS = 20
_MAX_ID = 256
_MOST_INDEX = 2**63 - 1
_STATES = frozenset(state.value for state in TaskState)


@dataclass(frozen=True, slots=True)
class Reader:
    """What resolvers need for one request."""

    principal: Principal
    tasks: Tasks
    records: Records


@strawberry.type(description="A recorded event.")
class LedgerEvent:
    """See `mc_platform.model.event.LedgerRow`; `detail` is JSON text."""

    log: str
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
        log=str(row.leaf.get("region", "")),
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
        raise BadRequest(f"first must be 1 to {_MOST}, got {first}")
    return first


def _index(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(_MOST_INDEX)):
        raise BadRequest("before must be an event's index: a number without sign")
    return min(int(text), _MOST_INDEX)


def _id(text: str) -> TaskId:
    if not text or len(text) > _MAX_ID or not text.isprintable():
        raise BadRequest(f"id must be 1 to {_MAX_ID} printable characters")
    return TaskId(text)


def _state(text: str | None) -> str | None:
    if text is not None and text not in _STATES:
        raise BadRequest("state is no state of a task", hint=f"one of {', '.join(sorted(_STATES))}")
    return text


@strawberry.type
class Query:
    """What a tenant may read of itself."""

    # NOTE: `strawberry.field` with a description is untyped in this version, hence the ignores.
    @strawberry.field(description="The credential's tenant.")  # type: ignore[untyped-decorator]
    def tenant(self, info: Info[Reader, None]) -> str:
        """The tenant that all other fields speak of."""
        return info.context.principal.tenant

    @strawberry.field(
        description="Recorded events, newest first; `before` is an index, `log` one of an earlier epoch."
    )  # type: ignore[untyped-decorator]
    async def events(
        self,
        info: Info[Reader, None],
        first: int = 50,
        before: str | None = None,
        log: str | None = None,
    ) -> list[LedgerEvent]:
        """The tenant's part of the ledger."""
        reader = info.context
        rows = await reader.records.newest(
            reader.principal.tenant, limit=_bounded(first), before=_index(before), log=log
        )
        return [_event(row) for row in rows]

    @strawberry.field(description="One task, or null.")  # type: ignore[untyped-decorator]
    async def task(self, info: Info[Reader, None], id: str) -> TaskView | None:
        """A task of the tenant."""
        reader = info.context
        found = await reader.tasks.get(reader.principal.tenant, _id(id))
        return None if found is None else _task(found)

    @strawberry.field(description="Tasks, newest first.")  # type: ignore[untyped-decorator]
    async def tasks(
        self, info: Info[Reader, None], first: int = 50, state: str | None = None
    ) -> list[TaskView]:
        """The tenant's tasks."""
        reader = info.context
        page = await reader.tasks.page(
            reader.principal.tenant,
            principal=None,
            context_id=None,
            state=_state(state),
            limit=_bounded(first),
            before=None,
            since=None,
            replies=False,
        )
        return [_task(task) for task in page.tasks]


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
_RULES: list[type[ASTValidationRule]] = [
    create_depth_rule(_MAX_DEPTH, None),
    create_alias_rule(_MAX_ALIASES),
]
_SCHEMA = _Schema(
    Query,
    extensions=[
        lambda: MaxTokensLimiter(max_token_count=_MAX_TOKENS),
        lambda: AddValidationRules(_RULES),
        lambda: ParserCache(maxsize=_CACHED_QUERIES),
        lambda: ValidationCache(maxsize=_CACHED_QUERIES),
    ],
)


class _Asked(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A request's body."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


async def _asked(request: Request) -> _Asked:
    asked = await read_body(request, _Asked)
    size = len(asked.query.encode())
    if size > _MAX_QUERY_BYTES:
        raise BadRequest(
            f"the query has {size} bytes, the limit is {_MAX_QUERY_BYTES}",
            hint="ask in several queries, and give values as variables",
        )
    return asked


def _told(error: GraphQLError) -> dict[str, Any]:
    """An error as its caller may see it."""
    cause = error.original_error
    if cause is None:
        return dict(error.formatted)  # the query's own fault, in GraphQL's words
    where = {key: value for key, value in error.formatted.items() if key in ("path", "locations")}
    if isinstance(cause, McError):
        told = cause.as_dict()
        return {"message": told.pop("message"), **where, "extensions": told}
    incident = uuid.uuid4().hex[:12]
    _log.error("request_crashed", incident=incident, exc_info=cause)
    message = f"internal error, incident {incident}"
    return {"message": message, **where, "extensions": {"code": "internal"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphqlHandlers(Handlers):
    """Answers queries."""

    tasks: Tasks
    records: Records

    def routes(self) -> list[Route]:
        return [Route("/graphql", self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        principal = self.principal_of(request)
        await self.enforcement.permit(
            principal, Action.read_records, "Ledger", owner=principal.tenant
        )
        try:
            asked = await _asked(request)
        except PlatformError as error:
            told = error.as_dict()
            refused = {"message": told.pop("message"), "extensions": told}
            return JSONResponse({"errors": [refused]}, status_code=error.http_status)
        result = await _SCHEMA.execute(
            asked.query,
            variable_values=asked.variables,
            operation_name=asked.operation_name,
            context_value=Reader(principal, self.tasks, self.records),
        )
        for failed in result.errors or ():
            # 429 or 503 as everywhere if a field found no free place, or no database
            if isinstance(failed.original_error, RateLimited | Unavailable):
                raise failed.original_error
        errors = [_told(error) for error in (result.errors or ())[:_MOST_ERRORS]]
        body = {"data": result.data} | ({"errors": errors} if errors else {})
        executed = result.data is not None or any("path" in error for error in errors)
        return JSONResponse(body, status_code=200 if executed else 400)
