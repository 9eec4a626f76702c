"""What a request's path and query say, read so that a database can take it; or `BadRequest`."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request

from mc_platform.errors import BadRequest


def refuse_unstorable(request: Request) -> None:
    """See that no parameter holds a character that no stored text can hold.

    Raises:
        BadRequest: one has a NUL, or half of a surrogate pair.
    """
    given = [*request.path_params.items(), *request.query_params.multi_items()]
    for name, value in given:
        if not (_storable(name) and _storable(str(value))):
            raise BadRequest(f"parameter {name[:64]!r} has a character that no text here can have")


def _storable(text: str) -> bool:
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


def instant(text: str) -> datetime | None:
    """A time with its zone, in UTC; None if it is none, or UTC has no such year."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None
