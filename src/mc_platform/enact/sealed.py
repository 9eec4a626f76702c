"""Content of operations at rest: inputs, results of steps and reports, sealed and bound to their place.

The engine's rows hold `{"tenant": ..., "sealed": ...}` in place of what a saga gave them. The seal names
tenant, operation and step, so no row can stand for another one. Rows of versions before this hold
the content itself, and are read as they are. What is sealed here is written by the engine, in its own
statements; where there is a peer, triggers copy it to `mc.operation_record` (0050).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mc_platform.enact.calls import Abandoned
from mc_platform.model.ids import OperationId, TenantId

INPUT, END = "input", "end"
HOME, BEGUN_IN, CANCELED = "home", "begun_in", "canceled"
"""Beside a sealed input: the term of its tenant's home; of an adopted one where it was begun, and whether
somebody had asked to cancel it."""
_log = logging.getLogger(__name__)
_SEALED, _BROKEN = "sealed", "broken"


@dataclass(frozen=True, slots=True)
class Begun:
    """An operation that has not ended, as its record tells it.

    Attributes:
        region: Where it was begun first.
        sealed: Its input.
        canceled: Whether somebody asked to cancel it.
    """

    id: OperationId
    tenant: TenantId
    region: str
    sealed: str
    canceled: bool


class Seals(Protocol):
    """Seals bytes, bound to a place; `record.Sealer` is one."""

    def seal_bytes(self, place: str, plain: bytes) -> str:
        """As printable characters."""

    def open_bytes(self, place: str, sealed: str) -> bytes | None:
        """None for what is sealed elsewhere, or under a key that is not known."""

    def knows(self, sealed: str) -> bool:
        """Whether the key is known under which it was sealed."""


class SealBroken(Exception):
    """What stands in a row was not sealed for it."""


class StepBroken(Exception):
    """An earlier run of a step failed in our own code; its message is the error's name."""


class SealedContent:
    """Seals and opens JSON values of one place each."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals

    def seal(self, tenant: str, operation_id: str, step: str, value: Any) -> dict[str, Any]:
        """What the engine keeps of a value."""
        plain = json.dumps(value, separators=(",", ":")).encode()
        return as_kept(tenant, self._seals.seal_bytes(_place(tenant, operation_id, step), plain))

    def open(self, operation_id: str, step: str, found: Any) -> Any:
        """The value; a row of an earlier version is the value itself.

        Raises:
            SealBroken: it was sealed for another place, or changed.
            Abandoned: its key is not known here; a replica that knows it goes on.
        """
        if not isinstance(found, Mapping) or _SEALED not in found:
            return found
        sealed = found[_SEALED]
        plain = self._seals.open_bytes(_place(found["tenant"], operation_id, step), sealed)
        if plain is not None:
            return json.loads(plain)
        if not self._seals.knows(sealed):
            _log.warning(
                "an operation is sealed under a key that is not known here: %s", operation_id
            )
            raise Abandoned
        raise SealBroken

    def kept_step(
        self,
        tenant: str,
        operation_id: str,
        step: str,
        keep: Callable[[Callable[[], dict[str, Any]]], dict[str, Any]],
        body: Callable[[], dict[str, Any]],
        elsewhere: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Run a step's body once, and have `keep` keep its result sealed; or give back what was kept.

        What another region kept of it, `elsewhere`, stands for a run of the body.

        That the body failed is kept as well, by the error's name alone.

        Raises:
            StepBroken, SealBroken, Abandoned; what the body raises.
        """
        made: list[dict[str, Any]] = []

        def run_body() -> dict[str, Any]:
            if elsewhere is not None:
                made.append(self.open(operation_id, step, elsewhere))
                return dict(elsewhere)
            try:
                made.append(body())
            except Exception as error:  # noqa: BLE001 told below
                made.append({_BROKEN: type(error).__name__})
            return self.seal(tenant, operation_id, step, made[0])

        found = keep(run_body)
        value: dict[str, Any] = made[0] if made else self.open(operation_id, step, found)
        if _BROKEN in value:
            raise StepBroken(value[_BROKEN])
        return value


def as_kept(tenant: str, sealed: str, **more: Any) -> dict[str, Any]:
    """What the engine keeps of something sealed; its rows are read in this order of members."""
    return {"tenant": tenant, _SEALED: sealed, **more}


def _place(tenant: str, operation_id: str, step: str) -> str:
    return json.dumps(["operation", tenant, operation_id, step])
