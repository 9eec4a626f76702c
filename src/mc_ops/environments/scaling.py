"""What `scale` refuses in every environment, whatever runs."""

from __future__ import annotations

from mc_ops.environments.interface import Colour
from mc_ops.errors import UnusableInput


def require_sensible(
    active: Colour | None,
    colour: Colour,
    replicas: int,
    *,
    most: int,
    restart: bool,
    baseline: bool,
) -> None:
    """Refuse what would leave nobody serving, and a baseline beside replicas that are not as fresh.

    Raises:
        UnusableInput: so it is, or more than `most` are asked for.
    """
    if not 0 <= replicas <= most:
        raise UnusableInput(f"{replicas} replicas asked for, expected 0 to {most}")
    cut_over_first = f"cut over first: mcctl cutover --to {colour.other}"
    if replicas == 0 and colour == active:
        raise UnusableInput(f"{colour} serves; with 0 replicas nobody would", hint=cut_over_first)
    if restart and colour == active:
        raise UnusableInput(
            f"{colour} serves; restarting all of it would drop requests", hint=cut_over_first
        )
    if baseline and not (restart and replicas):
        raise UnusableInput(
            "a fresh baseline is compared with replicas that are as fresh",
            hint="add --restart, and at least 1 replica",
        )
