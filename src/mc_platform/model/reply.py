"""What a peer answered over HTTP: an agent, an action's endpoint, a dataset's source, a SIEM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec


class NotJson(ValueError):
    """A reply's body is not JSON as RFC 8259 has it; says why, and quotes nothing of the body."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers (looked up without regard to case) and the whole body."""

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
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """The body's value.

        Raises:
            NotJson: it is not UTF-8, not JSON, or nested too deep to be read.
        """
        try:
            return msgspec.json.decode(self.body)
        except UnicodeDecodeError as error:
            raise NotJson("not in UTF-8") from error
        except RecursionError as error:
            raise NotJson("nested too deep") from error
        except ValueError as error:  # msgspec's own, whose text may quote the body
            raise NotJson("not JSON") from error
