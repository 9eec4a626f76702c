"""The families of attacks: what each tries, and by whose catalogue it is known; they stand in `families.toml`.

Mapping: LINDDUN (linddun.org), OWASP Top 10 for LLM Applications 2025 (LLMxx), OWASP Agentic AI
threats (Txx), MITRE ATLAS (AML.Txxxx).
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc_ops.redteam import attacks
from mc_ops.redteam.attacks import Fields
from mc_ops.redteam.case import Case

Attack = Callable[[random.Random], Fields]


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    Attributes:
        linddun, owasp, atlas: By what these catalogues know it.
        attack: Makes the fields of one case.
        most: How many cases make sense, as these ask for what is in a small pool; None: any number.
    """

    name: str
    tries: str
    linddun: tuple[str, ...]
    owasp: tuple[str, ...]
    atlas: tuple[str, ...]
    attack: Attack
    most: int | None = None

    def cases(self, seed: int, count: int) -> Iterator[Case]:
        """Fresh cases; the same seed makes the same ones."""
        rng = random.Random(f"{seed}|{self.name}")  # noqa: S311 - cases, no secret
        for number in range(count if self.most is None else min(count, self.most)):
            fields = self.attack(rng)
            yield Case(id=f"{self.name}-{number}", family=self.name, kind="attack", **fields)  # type: ignore[arg-type]


def _family(row: Mapping[str, Any]) -> Family:
    catalogues = {key: tuple(row[key]) for key in ("linddun", "owasp", "atlas")}
    attack: Attack = getattr(attacks, row["attack"])
    return Family(**{**row, **catalogues, "attack": attack})


FAMILIES = tuple(
    _family(row)
    for row in tomllib.loads(Path(__file__).with_name("families.toml").read_text(encoding="utf-8"))[
        "family"
    ]
)
BY_NAME = {family.name: family for family in FAMILIES}
