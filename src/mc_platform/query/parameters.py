"""What a request's path and query say, read so that a database can take it; or `BadRequest`."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request

from mc_platform.errors import BadRequest

_REASON_CHARS = 200
_LONGEST_LINE = 2000  # with spaces around


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


def reason_line(text: str) -> str:
    """A person's words as one short line; what screening finds in it is still to be replaced.

    Raises:
        BadRequest: empty, or longer than 200 characters.
    """
    if len(text) > _LONGEST_LINE:  # a large text is not looked through to be refused
        raise _no_reason(len(text))
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    if not line or len(line) > _REASON_CHARS:
        raise _no_reason(len(line))
    return line


def _no_reason(chars: int) -> BadRequest:
    return BadRequest(
        f"a reason has 1 to {_REASON_CHARS} characters, got {chars}",
        hint="say why, in a sentence; it is recorded",
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
