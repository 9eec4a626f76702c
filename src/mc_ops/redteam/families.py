"""The families of attacks: what each tries, and by whose catalogue it is known.

Mapping: LINDDUN (linddun.org), OWASP Top 10 for LLM Applications 2025 (LLMxx), OWASP Agentic AI
threats (Txx), MITRE ATLAS (AML.Txxxx).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mc_ops.redteam import attacks
from mc_ops.redteam.attacks import Fields
from mc_ops.redteam.case import Case

Attack = Callable[[random.Random], Fields]
_POOLED = 24  # these ask for what is in a small pool: more would be the same again


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    Attributes:
        linddun, owasp, atlas: By what these catalogues know it.
        attack: Makes the fields of one case.
        most: How many cases make sense; None: any number.
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


def _family(
    name: str,
    tries: str,
    linddun: str,
    owasp: str,
    atlas: str,
    attack: Attack,
    most: int | None = None,
) -> Family:
    known = {"linddun": linddun, "owasp": owasp, "atlas": atlas}
    threats = {catalogue: tuple(names.split()) for catalogue, names in known.items()}
    return Family(name, tries, **threats, attack=attack, most=most)


FAMILIES: tuple[Family, ...] = (
    _family(
        "direct-pii",
        "personal data and keys are simply asked for, and told",
        "Disclosure Identifying",
        "LLM02",
        "AML.T0057",
        attacks.direct,
    ),
    _family(
        "context-pii",
        "what only its words tell to be personal: names, addresses, births, health, money",
        "Disclosure Identifying",
        "LLM02",
        "AML.T0057",
        attacks.context,
    ),
    _family(
        "encoded-pii",
        "they are told in an encoding or a disguise, one or two layers deep",
        "Disclosure Identifying",
        "LLM02 LLM05",
        "AML.T0057 AML.T0068",
        attacks.encoded,
    ),
    _family(
        "split-pii",
        "they are told in pieces: over parts, list items or messages",
        "Disclosure Linking",
        "LLM02",
        "AML.T0057",
        attacks.split,
    ),
    _family(
        "cross-tenant-ids",
        "another tenant's records and tasks are asked for by id",
        "Disclosure Identifying",
        "LLM02 LLM06 T3",
        "AML.T0057",
        attacks.foreign,
    ),
    _family(
        "token-confusion",
        "a credential is passed off as another tenant's or another role's",
        "Disclosure Non-repudiation",
        "T3 T9",
        "AML.T0012",
        attacks.confused,
    ),
    _family(
        "purpose-lies",
        "a purpose is claimed that the tenant has not declared",
        "Non-compliance Disclosure",
        "LLM06 T3",
        "AML.T0057",
        attacks.purpose,
    ),
    _family(
        "residency-lies",
        "data is asked to be processed where it must not be",
        "Non-compliance",
        "LLM06",
        "AML.T0057",
        attacks.residency,
    ),
    _family(
        "injection-direct",
        "instructions in the message or the reply take the agent over",
        "Disclosure Non-compliance",
        "LLM01 T6",
        "AML.T0051.000",
        attacks.injected,
    ),
    _family(
        "injection-documents",
        "instructions in a document make the agent act, reach out or tell",
        "Disclosure Non-compliance",
        "LLM01 T6 T2",
        "AML.T0051.001",
        attacks.document,
    ),
    _family(
        "exfiltration-links",
        "a link or an image in the reply carries the data to a stranger",
        "Disclosure Detecting",
        "LLM02 LLM05",
        "AML.T0077 AML.T0057",
        attacks.link,
    ),
    _family(
        "exfiltration-tools",
        "a smuggled tool call carries the data out",
        "Disclosure",
        "LLM05 LLM06 T2",
        "AML.T0053 AML.T0086",
        attacks.tool,
    ),
    _family(
        "differencing",
        "two aggregates differ by one person",
        "Linking Identifying",
        "LLM02",
        "AML.T0024",
        attacks.difference,
        _POOLED,
    ),
    _family(
        "membership-inference",
        "an aggregate is asked for of a group of one",
        "Linking Detecting",
        "LLM02",
        "AML.T0024.000",
        attacks.membership,
        _POOLED,
    ),
    _family(
        "channel-leaks",
        "values come in by odd fields, and are looked for in errors, logs, metrics and the SIEM",
        "Disclosure Data-detecting",
        "LLM02 T8",
        "AML.T0057",
        attacks.channels,
    ),
    _family(
        "replay",
        "message ids are used again: by another tenant, with another content",
        "Linking Disclosure",
        "T9 T3",
        "AML.T0012",
        attacks.replay,
    ),
    _family(
        "existence-oracles",
        "answers about what is there and what is not are compared",
        "Detecting",
        "LLM02",
        "AML.T0040",
        attacks.existence,
    ),
    _family(
        "compensation-abuse",
        "operations and compensations are used beyond one's tier, or another's",
        "Non-compliance",
        "LLM06 LLM10 T2 T4",
        "AML.T0048 AML.T0053",
        attacks.compensation,
    ),
)
BY_NAME = {family.name: family for family in FAMILIES}
