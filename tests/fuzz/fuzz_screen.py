"""Coverage-guided fuzzing of the screen: `python tests/fuzz/fuzz_screen.py -runs=100000`.

Each input is read as parts in one of several ways, screened, redacted, and screened again. It must
not raise, must not exceed its budget, and what was found must be gone from the redacted parts.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["mc_platform.screen"]):
    from mc_platform.model.customer_ids import CustomerIds
    from mc_platform.model.label import Scope
    from mc_platform.screen import LibraryScreener
    from mc_platform.screen.findings import Budget

PER_LEAF, PER_MESSAGE = 200, 800
SCREENER = LibraryScreener(candidates_per_leaf=PER_LEAF, candidates_per_message=PER_MESSAGE)
SCOPE = Scope(
    customer_ids=(r"AC-\d{5}",),
    dictionary=("Project Falcon",),
    all_ids=CustomerIds((r"AC-\d{5}", r"BX-\d{5}")),
    hosts=frozenset({"shop.example"}),
)


class Exceeded(Exception):
    """More work was done than the budget allows."""


def watch_budget() -> None:
    """Let every budget check itself from outside: a spend beyond the limit is a finding."""
    spend = Budget.spend

    def watched(self: Budget, units: int = 1) -> None:
        if self._message < 0 and self._leaf < 0:
            raise Exceeded("work went on after the budget was used up")
        spend(self, units)

    Budget.spend = watched  # type: ignore[method-assign]


def parts_of(data: bytes) -> list[Any]:
    """Some message that a sender could make of these bytes."""
    way, rest = (data[0] % 6, data[1:]) if data else (0, data)
    text = rest.decode("utf-8", "surrogateescape")
    if way == 0:
        return [{"text": text}]
    if way == 1:
        half = len(text) // 2
        return [{"text": text[:half]}, {"text": text[half:]}]
    if way == 2:
        return [{"data": {text[:8]: [text[8:], {"k": text}], "n": len(text)}}]
    if way == 3:
        return [{"raw": base64.b64encode(rest).decode(), "mediaType": "text/plain"}]
    if way == 4:
        return [{"text": base64.b64encode(rest).decode()}, {"url": text, "metadata": {"a": text}}]
    try:
        return [{"data": json.loads(text)}]
    except (ValueError, RecursionError):
        return [{"text": json.dumps(text)}]


def one_input(data: bytes) -> None:
    """The property."""
    parts = parts_of(data)
    screening = SCREENER.screen(parts, SCOPE, ["4111 1111", "jane@"])
    redacted = SCREENER.redact(parts, screening, SCOPE)
    again = SCREENER.screen(redacted, SCOPE)
    left = again.types & screening.types
    if left:
        raise AssertionError(f"still found after redaction: {sorted(left)}")


if __name__ == "__main__":
    watch_budget()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
