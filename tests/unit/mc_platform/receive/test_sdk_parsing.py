"""Our check of strings is the one that protobuf asks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from a2a.server.routes import jsonrpc_dispatcher
from a2a.types import a2a_pb2 as pb
from a2a.utils import errors as sdk
from a2a.utils import proto_utils
from google.protobuf import json_format
from starlette.datastructures import QueryParams

from mc_platform.receive import convert, sdk_parsing


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


@pytest.mark.parametrize(
    "query",
    [
        "status=NOPE",
        "status=failed",
        "status=TASK_STATE_FAILED&status=TASK_STATE_WORKING",
        "lastUpdatedAfter=2026-01-01T00:00:00Z",
        "contextID=x",
        "includeArtifacts=no",
        "pageSize=x",
        "pageSize=8_0&contextId=c",
        "pageSize=%2B8&contextId=c",
        "historyLength=%208&contextId=c",
        "statusTimestampAfter=yesterday",
    ],
)
def test_a_filter_that_is_not_known_is_refused_and_never_passed_over(query: str) -> None:
    """Over HTTP+JSON and JSON-RPC: what is passed over would show more than was asked for."""
    sdk_parsing.adapt_parsers()
    asked = QueryParams(query)
    with pytest.raises(sdk.InvalidParamsError) as refused:
        proto_utils.parse_params(asked, pb.ListTasksRequest())
    assert "int()" not in str(refused.value)
    if len(asked.multi_items()) == 1:
        with pytest.raises(sdk.InvalidParamsError):
            jsonrpc_dispatcher.ParseDict(
                dict(asked), pb.ListTasksRequest(), ignore_unknown_fields=True
            )


@pytest.mark.parametrize("status", ["failed", "TASK_STATE_NOPE", ""])
def test_a_state_that_is_not_known_is_answered_with_those_that_are(status: str) -> None:
    """Over HTTP+JSON and JSON-RPC."""
    sdk_parsing.adapt_parsers()
    known = (
        r"at status: one of TASK_STATE_SUBMITTED, TASK_STATE_WORKING, .*TASK_STATE_AUTH_REQUIRED$"
    )
    with pytest.raises(sdk.InvalidParamsError, match=known):
        proto_utils.parse_params(QueryParams({"status": status}), pb.ListTasksRequest())
    with pytest.raises(sdk.InvalidParamsError, match=known):
        jsonrpc_dispatcher.ParseDict({"status": status}, pb.ListTasksRequest())


def test_a_listings_parameters_are_read() -> None:
    """Each has its value, the time as well."""
    sdk_parsing.adapt_parsers()
    wanted = pb.ListTasksRequest()
    query = (
        "status=TASK_STATE_FAILED&pageSize=7&includeArtifacts=True&contextId=c"
        "&statusTimestampAfter=2026-01-01T12:00:00Z&pageToken=t&historyLength=0"
    )
    proto_utils.parse_params(QueryParams(query), wanted)
    assert (wanted.status, wanted.page_size, wanted.include_artifacts) == (
        pb.TASK_STATE_FAILED,
        7,
        True,
    )
    assert (wanted.context_id, wanted.page_token) == ("c", "t")
    assert convert.since(wanted) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert convert.since(pb.ListTasksRequest()) is None


def test_a_task_is_read_with_parameters_that_it_does_not_have() -> None:
    """They widen no answer; clients of a later version may send them."""
    sdk_parsing.adapt_parsers()
    wanted = pb.GetTaskRequest()
    proto_utils.parse_params(QueryParams("historyLength=3&later=1"), wanted)
    assert wanted.history_length == 3
