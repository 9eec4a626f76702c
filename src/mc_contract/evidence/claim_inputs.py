"""What every claim function shares: its shape, its error, and how it reads artefacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mc_contract.canonical import Json
from mc_contract.errors import McError
from mc_contract.evidence.strict import Malformed, parse_json

Inputs = Sequence[bytes]
Params = Mapping[str, Json]


class NotRecomputable(McError):
    """A claim's value can't be computed from what the pack holds; the message says why."""

    code = "not-recomputable"


@dataclass(frozen=True, slots=True)
class ClaimFunction:
    """One entry of the registry.

    Attributes:
        name: As claims spell it, `area.thing`.
        inputs: How many artefacts it takes.
        params: The parameters that it knows.
        proves: What a reader may conclude from the recomputed value, and what not.
        call: The pure function.
        optional: How many artefacts may follow those.
    """

    name: str
    inputs: int
    params: tuple[str, ...]
    proves: str
    call: Callable[[Inputs, Params], Json]
    optional: int = 0


def json_object(raw: bytes, what: str) -> dict[str, Json]:
    """The JSON object that an artefact holds.

    Raises:
        NotRecomputable: it holds something else.
    """
    try:
        value = parse_json(raw)
    except Malformed as cause:
        raise NotRecomputable(f"{what}: {cause.message}") from cause
    if not isinstance(value, dict):
        raise NotRecomputable(f"{what} is not a JSON object")
    return value


def text_param(params: Params, name: str) -> str:
    """The text parameter `name`.

    Raises:
        NotRecomputable: it is absent or no text.
    """
    value = params.get(name)
    if not isinstance(value, str):
        raise NotRecomputable(f"parameter {name!r} must be a text")
    return value


def utf8(raw: bytes, what: str) -> str:
    """The artefact as text.

    Raises:
        NotRecomputable: it is not UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as cause:
        raise NotRecomputable(f"{what} is not UTF-8") from cause
