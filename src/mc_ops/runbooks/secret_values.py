"""Parameters that are secret: given by reference, read when a run begins, recorded nowhere.

--set TOKEN=env:NAME                a variable of whoever runs it
--set TOKEN=file:PATH               a file; one newline at its end is no part of the value
--set TOKEN=kubernetes:SECRET/KEY   a key of a Secret, in MC_NAMESPACE or kubectl's own
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_limited

SHORTEST_SECRET = 6
"""Characters; masking a shorter value would eat ordinary words."""
_LARGEST_BYTES = 16 * 1024
_FORM = re.compile(
    r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\0]+|kubernetes:[a-z0-9][a-z0-9.-]*/[A-Za-z0-9._-]+"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret is: the source and what it is called there."""

    FORM: ClassVar[str] = "env:NAME, file:PATH or kubernetes:SECRET/KEY"

    source: str
    name: str

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Read a reference; None for what is none (perhaps the secret itself: it is not shown)."""
        if not _FORM.fullmatch(text):
            return None
        source, _, name = text.partition(":")
        return cls(source, name)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where references lead.

    Attributes:
        variables: The environment of whoever runs.
        kubernetes: Gives the value of a key of a Secret; raises `OpsError`.
    """

    variables: Mapping[str, str]
    kubernetes: Callable[[str, str], str]

    def value(self, name: str, reference: Reference) -> str:
        """The secret of the parameter `name`.

        Raises:
            UnusableInput, CouldNotTell: It is not there, or could not be masked; the reason never
                has it.
        """
        value = self._read(name, reference)
        try:
            value.encode()
        except UnicodeEncodeError:  # bytes of a variable that are no UTF-8
            raise UnusableInput(f"the secret {name} is no text") from None
        if "\0" in value or not value.strip():
            raise UnusableInput(f"the secret {name} is empty, or no text")
        if len(value) < SHORTEST_SECRET:
            raise UnusableInput(
                f"the secret {name} is too short to be kept out of logs",
                hint=f"it needs {SHORTEST_SECRET} characters or more",
            )
        return value

    def _read(self, name: str, reference: Reference) -> str:
        match reference.source:
            case "env":
                if reference.name not in self.variables:
                    raise UnusableInput(f"the secret {name}: {reference.name} is not set")
                return self.variables[reference.name]
            case "file":
                raw = read_limited(Path(reference.name), _LARGEST_BYTES)
                try:
                    return raw.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
                except UnicodeDecodeError:
                    raise UnusableInput(f"the secret {name}: its file is no UTF-8") from None
            case _:
                secret, _, key = reference.name.partition("/")
                return self.kubernetes(secret, key)


def no_cluster(secret: str, key: str) -> str:
    """A source of Secrets where there is no cluster to ask."""
    raise CouldNotTell(f"no cluster was asked for {key} of the Secret {secret}")
