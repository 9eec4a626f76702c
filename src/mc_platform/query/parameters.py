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


def refuse_unknown(request: Request, *known: str) -> None:
    """See that no parameter has another name.

    Raises:
        BadRequest: one has; an ignored filter would widen the answer.
    """
    if unknown := sorted(set(request.query_params) - set(known)):
        raise BadRequest(
            f"unknown parameter {unknown[0][:64]!r}", hint=f"known: {', '.join(known) or 'none'}"
        )


def read_limit(text: str | None, *, usual: int, most: int) -> int:
    """How many a page has; `usual` where nothing is asked for.

    Raises:
        BadRequest: it is no whole number from 1 to `most`.
    """
    if text is None:
        return usual
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= limit <= most:
        raise BadRequest(f"limit must be 1 to {most}")
    return limit


def read_instant(text: str, name: str) -> datetime:
    """A time with its zone, in UTC.

    Raises:
        BadRequest: it is none.
    """
    found = instant(text)
    if found is None:
        raise BadRequest(
            f"{name} must be a time with its zone", hint="such as 2026-01-31T00:00:00Z"
        )
    return found


def instant(text: str) -> datetime | None:
    """A time with its zone, in UTC; None if it is none, or UTC has no such year."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None
