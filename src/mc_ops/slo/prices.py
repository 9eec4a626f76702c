"""What a CPU-second and other things cost, and what a request may: a file of the SRE's, TOML.

There is no price by default: a made-up price would make a made-up cost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from mc_contract.configuration import MOST_BYTES, FileProblems, Form, Strict, Word, check, toml_of
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited

_EXAMPLE = 'currency = "EUR" and cpu_second = 0.00001 make a file; see docs/reference/slo.md'
_MOST = 1e9  # of any currency; sums of more are beyond all numbers
METERED = {
    "request": ("mc_requests_total", "HTTP requests of tenants"),
    "operation": ("mc_autonomy_operations_total", "operations that ended"),
}
"""What can have a price of its own: the counter that counts it by tenant."""


_Price = Annotated[float, Field(ge=0, le=_MOST)]


class _Metered(Strict):
    request: _Price | None = None
    operation: _Price | None = None


class _Targets(Strict):
    per_request: _Price | None = None
    tenants: dict[Word, _Price] = Field(default_factory=dict)


class Prices(Strict):
    """Prices and targets; money is in `currency`.

    Attributes:
        cpu_second: Price of one second of one core.
        reserved_cores_per_replica: Cores that are paid for, used or not; None: what is used.
        targets: What a request may cost, over all and of one tenant; None: no target.
    """

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,8}$"), Form("1 to 8 letters")]
    cpu_second: _Price
    reserved_cores_per_replica: _Price | None = None
    metered: _Metered = _Metered()
    targets: _Targets = _Targets()

    @property
    def items(self) -> dict[str, float]:
        """The price of one item, by its name in `METERED`; those without one are left out."""
        return {name: price for name, price in self.metered if price is not None}

    def most_per_request(self, tenant: str | None = None) -> float | None:
        """What a request may cost, over all or of one tenant; None: no target is set."""
        return self.targets.tenants.get(tenant) if tenant else self.targets.per_request


def read_prices(path: Path) -> Prices:
    """Read a file of prices.

    Raises:
        UnusableInput: it cannot be read; or with every value that is missing, unknown or no price.
    """
    try:
        raw = read_limited(path, MOST_BYTES)
    except UnusableInput as error:
        raise UnusableInput(error.message, hint=_EXAMPLE) from error
    try:
        return check(Prices, toml_of(raw))
    except FileProblems as error:
        raise UnusableInput(f"{path}: {error}", hint=_EXAMPLE) from error
