"""What a request's path and query say, read so that a database can take it; or `BadRequest`."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from starlette.requests import Request

from mc_contract.numbers import whole_number
from mc_platform.errors import BadRequest

MOST_INDEX = 2**63 - 1
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
    """See that no parameter has another name, or holds what `refuse_unstorable` refuses.

    Raises:
        BadRequest: one has; an ignored filter would widen the answer.
    """
    refuse_unstorable(request)
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


def read_number(
    request: Request, name: str, *, least: int, most: int = MOST_INDEX, usual: int | None = None
) -> int:
    """A parameter that is a whole number; `usual` where it is not given.

    Raises:
        BadRequest: it is none from `least` to `most`.
    """
    text = request.query_params.get(name)
    if text is None and usual is not None:
        return usual
    try:
        value = whole_number(text or "")
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise BadRequest(f"{name} must be a number from {least} to {most}")
    return value


def read_instant(text: str, name: str) -> datetime:
    """A time with its zone, in UTC.

    Raises:
        BadRequest: it is none, or UTC has no such year.
    """
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text)
        if at.tzinfo:
            return at.astimezone(UTC)
    raise BadRequest(f"{name} must be a time with its zone", hint="such as 2026-01-31T00:00:00Z")
