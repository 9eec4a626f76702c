"""Faults that are switched on deliberately in one colour's replicas, to see a HOLD happen.

Written `slow=2` (every request takes twice as long) and `errors=0.05` (that share of requests
fails). The service obeys them only with `MC_FAULTS_ALLOWED=1`, and shows them in its /health.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mc_contract.numbers import number
from mc_ops.environments.interface import Colour
from mc_ops.errors import UnusableInput

_SYNTAX = "write green:slow=2 or green:errors=0.05"


# As people write it: the field, and from where to where its value goes
_KINDS = {"slow": ("slow_factor", 1, 100), "errors": ("error_ratio", 0, 1)}
_WORDS = {field: word for word, (field, _, _) in _KINDS.items()}


def _setting(field: str) -> str:
    return f"MC_FAULT_{field.upper()}"


@dataclass(frozen=True, slots=True)
class Faults:
    """What is switched on; `slow_factor` 2 is twice as slow, `error_ratio` 0.05 is 5 %."""

    slow_factor: float | None = None
    error_ratio: float | None = None

    def settings(self) -> dict[str, str]:
        """The service's environment variables for these faults; empty when there are none."""
        found = {
            _setting(field): f"{value:g}"
            for field, value in asdict(self).items()
            if value is not None
        }
        return {**found, "MC_FAULTS_ALLOWED": "1"} if found else {}

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Faults:
        """The faults that a process's recorded settings mean."""
        values = {field: settings.get(_setting(field)) for field in _WORDS}
        return cls(**{field: float(value) for field, value in values.items() if value})


def read_faults(options: Iterable[str], env: Mapping[str, str]) -> dict[Colour, Faults]:
    """Read `--fault COLOUR:KIND=VALUE` options, over `MC_GREEN_FAULT="slow=2,errors=0.05"`.

    Raises:
        UnusableInput: a fault is misspelt or out of range.
    """
    faults: dict[Colour, Faults] = {}
    for colour in Colour:
        if text := env.get(f"MC_{colour.upper()}_FAULT"):
            faults[colour] = _with_all(text)
    for option in options:
        name, _, text = option.partition(":")
        if name not in Colour.__members__:
            raise UnusableInput(f'fault "{option}" names no colour', hint=_SYNTAX)
        faults[Colour(name)] = _with(faults.get(Colour(name), Faults()), text)
    return faults


def read_fault(text: str) -> Faults:
    """Read one colour's faults, `slow=2,errors=0.05`; `none` for none.

    Raises:
        UnusableInput: a fault is misspelt or out of range.
    """
    return Faults() if text == "none" else _with_all(text)


def shown(settings: Mapping[str, str]) -> str:
    """Faults as a person wrote them, from a process's recorded settings."""
    values = {word: settings.get(_setting(field)) for field, word in _WORDS.items()}
    return ",".join(f"{word}={value}" for word, value in values.items() if value is not None)


def told_by(health: Mapping[str, Any]) -> str:
    """Faults as a person wrote them, from what a replica says of itself."""
    return ",".join(
        f"{_WORDS.get(field, field)}={f'{value:g}' if isinstance(value, int | float) else value}"
        for field, value in health.items()
    )


def _with_all(text: str) -> Faults:
    faults = Faults()
    for fault in filter(None, text.split(",")):
        faults = _with(faults, fault.strip())
    return faults


def _with(faults: Faults, text: str) -> Faults:
    word, _, written = text.partition("=")
    try:
        value = number(written)
    except ValueError:
        raise UnusableInput(f'fault "{text}" has no number', hint=_SYNTAX) from None
    field, least, most = _KINDS.get(word, ("", 1, 0))
    if not least <= value <= most:
        raise UnusableInput(
            f'fault "{text}" is not known or out of range',
            hint=f"slow takes 1 to 100, errors takes 0 to 1; {_SYNTAX}",
        )
    return replace(faults, **{field: value})
