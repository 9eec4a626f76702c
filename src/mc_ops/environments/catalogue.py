"""The digest of a catalogue, as a replica that began with it tells it in /health."""

from __future__ import annotations

from collections.abc import Mapping

from mc_contract.configuration import MOST_TENANT_BYTES, document_digest, filled, toml_of


def catalogue_digest(raw: bytes, settings: Mapping[str, str]) -> str:
    """The digest of a catalogue's bytes, its placeholders filled from these settings.

    Raises:
        FileProblems: it is no TOML, or too large.
    """
    return document_digest(filled(toml_of(raw, most_bytes=MOST_TENANT_BYTES), settings))
