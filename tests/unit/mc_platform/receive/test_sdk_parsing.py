"""Our check of strings is the one that protobuf asks."""

from __future__ import annotations

import pytest
from a2a.types import a2a_pb2 as pb
from google.protobuf import json_format

from mc_platform.receive import sdk_parsing


def test_half_a_surrogate_pair_is_refused_by_our_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole pairs and every other text pass; and the pattern is not asked any more."""
    asked: list[str] = []
    real = sdk_parsing._HalfPairs.search

    def search(text: str) -> bool:
        asked.append(text)
        return real(text)

    monkeypatch.setattr(sdk_parsing._HalfPairs, "search", staticmethod(search))
    sdk_parsing.adapt_parsers()
    for text in ("", "plain", "\U0001f600", "\u00e9"):
        assert json_format.ParseDict({"text": text}, pb.Part()).text == text
    for text in ("\ud800", "a\udc00b", "\udc00\ud800"):
        with pytest.raises(json_format.ParseError, match="surrogate"):
            json_format.ParseDict({"text": text}, pb.Part())
    assert len(asked) == 7
