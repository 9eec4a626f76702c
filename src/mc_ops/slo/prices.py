"""What a CPU-second and other things cost, and what a request may: a file of the SRE's, TOML.

There is no price by default: a made-up price would make a made-up cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from mc_contract.configuration import MOST_BYTES, FileProblems, Form, Strict, Word, check, toml_of
from mc_ops.errors import UnusableInput

_EXAMPLE = 'currency = "EUR" and cpu_second = 0.00001 make a file; see docs/reference/slo.md'
_MOST = 1e9  # of any currency; sums of more are beyond all numbers
METERED = {
    "request": ("mc_requests_total", "HTTP requests of tenants"),
    "operation": ("mc_autonomy_operations_total", "operations that ended"),
}
"""What can have a price of its own: the counter that counts it by tenant."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices and targets; money is in `currency`.

    Attributes:
        cpu_second: Price of one second of one core.
        reserved_cores: Cores that are paid for each replica, used or not; None: what is used.
        metered: Price of one item by its name in `METERED`.
        per_request: What a request may cost, over all; None: no target.
        tenants: The same for one tenant's requests.
    """

    currency: str
    cpu_second: float
    reserved_cores: float | None = None
    metered: Mapping[str, float] = field(default_factory=dict)
    per_request: float | None = None
    tenants: Mapping[str, float] = field(default_factory=dict)


def read_prices(path: Path) -> Prices:
    """Read a file of prices.

    Raises:
        UnusableInput: it cannot be read; or with every value that is missing, unknown or no price.
    """
    try:
        if path.exists() and not path.is_file():
            raise UnusableInput(f"{path} is not a regular file", hint=_EXAMPLE)
        with path.open("rb") as file:
            read = check(_File, toml_of(file.read(MOST_BYTES + 1)))
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read: {error.strerror}", hint=_EXAMPLE) from error
    except FileProblems as error:
        raise UnusableInput(f"{path}: {error}", hint=_EXAMPLE) from error
    return Prices(
        currency=read.currency,
        cpu_second=read.cpu_second,
        reserved_cores=read.reserved_cores_per_replica,
        metered={key: price for key, price in read.metered if price is not None},
        per_request=read.targets.per_request,
        tenants=read.targets.tenants,
    )


_Price = Annotated[float, Field(ge=0, le=_MOST)]


class _Metered(Strict):
    request: _Price | None = None
    operation: _Price | None = None


class _Targets(Strict):
    per_request: _Price | None = None
    tenants: dict[Word, _Price] = Field(default_factory=dict)


class _File(Strict):
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,8}$"), Form("1 to 8 letters")]
    cpu_second: _Price
    reserved_cores_per_replica: _Price | None = None
    metered: _Metered = _Metered()
    targets: _Targets = _Targets()
