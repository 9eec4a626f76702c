"""Faults that are switched on deliberately in one colour's replicas, to see a HOLD happen.

Written `slow=2` (every request takes twice as long) and `errors=0.05` (that share of requests
fails). The service obeys them only with `MC_FAULTS_ALLOWED=1`, and shows them in its /health.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mc_contract.numbers import number
from mc_ops.environments.interface import Colour
from mc_ops.errors import UnusableInput

_SYNTAX = "write green:slow=2 or green:errors=0.05"
_MAX_SLOW_FACTOR = 100.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What is switched on; `slow_factor` 2 is twice as slow, `error_ratio` 0.05 is 5 %."""

    slow_factor: float | None = None
    error_ratio: float | None = None

    def settings(self) -> dict[str, str]:
        """The service's environment variables for these faults; empty when there are none."""
        found = {}
        if self.slow_factor is not None:
            found["MC_FAULT_SLOW_FACTOR"] = f"{self.slow_factor:g}"
        if self.error_ratio is not None:
            found["MC_FAULT_ERROR_RATIO"] = f"{self.error_ratio:g}"
        return {**found, "MC_FAULTS_ALLOWED": "1"} if found else {}

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Faults:
        """The faults that a process's recorded settings mean."""
        slow = settings.get("MC_FAULT_SLOW_FACTOR")
        errors = settings.get("MC_FAULT_ERROR_RATIO")
        return cls(float(slow) if slow else None, float(errors) if errors else None)


def read_faults(options: Iterable[str], env: Mapping[str, str]) -> dict[Colour, Faults]:
    """Read `--fault COLOUR:KIND=VALUE` options, over `MC_GREEN_FAULT="slow=2,errors=0.05"`.

    Raises:
        UnusableInput: a fault is misspelt or out of range.
    """
    faults: dict[Colour, Faults] = {}
    for colour in Colour:
        for text in filter(None, env.get(f"MC_{colour.upper()}_FAULT", "").split(",")):
            faults[colour] = _with(faults.get(colour, Faults()), text.strip())
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
    faults = Faults()
    for one in () if text == "none" else filter(None, text.split(",")):
        faults = _with(faults, one.strip())
    return faults


def shown(settings: Mapping[str, str]) -> str:
    """Faults as a person wrote them, from a process's recorded settings."""
    names = {"MC_FAULT_SLOW_FACTOR": "slow", "MC_FAULT_ERROR_RATIO": "errors"}
    return ",".join(f"{short}={settings[key]}" for key, short in names.items() if key in settings)


def _with(faults: Faults, text: str) -> Faults:
    kind, _, value = text.partition("=")
    try:
        found = number(value)
    except ValueError:
        raise UnusableInput(f'fault "{text}" has no number', hint=_SYNTAX) from None
    if kind == "slow" and 1 <= found <= _MAX_SLOW_FACTOR:
        return replace(faults, slow_factor=found)
    if kind == "errors" and 0 <= found <= 1:
        return replace(faults, error_ratio=found)
    raise UnusableInput(
        f'fault "{text}" is not known or out of range',
        hint=f"slow takes 1 to {_MAX_SLOW_FACTOR:g}, errors takes 0 to 1; {_SYNTAX}",
    )
