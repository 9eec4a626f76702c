"""The file of witnesses: who cosigns this region's checkpoints, and whose it cosigns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mc_contract.configuration import Form, HttpUrl, Several, Strict, Text, check
from mc_contract.ledger.checkpoint import ED25519, CheckpointError
from mc_contract.ledger.cosignature import (
    COSIGNATURE,
    VerifierKey,
    parse_verifier_key,
    refuse_twins,
)

_MOST = 32


def _of_witness(text: str) -> str:
    return _checked(text, COSIGNATURE)


def _of_log(text: str) -> str:
    return _checked(text, ED25519)


def _checked(text: str, kind: bytes) -> str:
    try:
        parse_verifier_key(text, kind)
    except CheckpointError as error:
        raise ValueError(error.message) from error
    return text


_NAME = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$"),
    Form("a name of small letters, digits and -"),
]
_WITNESS_KEY = Annotated[
    Text, AfterValidator(_of_witness), Form("a verifier key: NAME+HASH+BASE64")
]
_LOG_KEY = Annotated[Text, AfterValidator(_of_log), Form("a verifier key: NAME+HASH+BASE64")]


class WitnessEntry(Strict):
    """A witness of this region's log.

    Attributes:
        name: Short, of metrics and logs; not the name in its key.
        url: Its submission prefix, to which `/add-checkpoint` is added.
        key: Its verifier key.
        required: Whether what it has not cosigned is published as cosigned.
    """

    name: _NAME
    url: HttpUrl
    key: _WITNESS_KEY
    required: bool = True


class LogEntry(Strict):
    """A log that this region witnesses.

    Attributes:
        key: Its verifier key.
        origin: Where it differs from the key's name.
    """

    key: _LOG_KEY
    origin: Text | None = None

    @property
    def log(self) -> str:
        """The origin of its checkpoints."""
        return self.origin or parse_verifier_key(self.key, ED25519).name


class Witnesses(Strict):
    """The whole file."""

    witness: Several[WitnessEntry] = Field(default=(), max_length=_MOST)
    log: Several[LogEntry] = Field(default=(), max_length=_MOST)

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        names = [each.name for each in self.witness]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two witnesses are named {twice[0]}")
        try:
            refuse_twins([parse_verifier_key(each.key, COSIGNATURE) for each in self.witness])
        except CheckpointError as error:
            raise ValueError(error.message) from error
        return self

    @property
    def logs(self) -> Mapping[str, list[VerifierKey]]:
        """Keys by origin; several of one while it changes its key."""
        found: dict[str, list[VerifierKey]] = {}
        for entry in self.log:
            found.setdefault(entry.log, []).append(parse_verifier_key(entry.key, ED25519))
        return found


def parse_witnesses(document: Mapping[str, Any]) -> Witnesses:
    """The file's content.

    Raises:
        FileProblems: with all that is wrong with it.
    """
    return check(Witnesses, document)
