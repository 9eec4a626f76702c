"""What a peer answered over HTTP: an agent, an action's endpoint, a dataset's source, a SIEM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from mc_contract.keepable import read_json


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers by their names in lower case, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def content_type(self) -> str:
        """The declared media type in lower case, without parameters; empty if none is declared."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self, *, most_depth: int) -> Any:
        """The body's value.

        Raises:
            NotKeepable: it is not JSON, or holds what is not kept.
        """
        return read_json(self.body, most_depth=most_depth)
