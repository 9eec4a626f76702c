"""Methods of the SDK are called as they are where nobody traces them."""

from __future__ import annotations

import inspect

import pytest
from a2a.utils.telemetry import trace_class

from mc_platform.receive.untraced import SWITCH, untrace


def _traced():
    class Dispatcher:
        async def handle(self, one, *, two):
            """Handle it."""
            return one, two

        @staticmethod
        def still():
            return "still"

    return trace_class()(Dispatcher)


@pytest.mark.parametrize("given", [None, "false", "1"])
async def test_wrappers_are_gone_and_the_method_is_the_same(monkeypatch, given):
    """Also when it is asked for twice."""
    monkeypatch.delenv(SWITCH, raising=False)
    if given is not None:
        monkeypatch.setenv(SWITCH, given)
    made = _traced()
    assert hasattr(made.handle, "__wrapped__")
    for _ in range(2):
        untrace(made)
        assert not hasattr(made.handle, "__wrapped__")
    assert await made().handle(1, two=2) == (1, 2)
    assert made.still() == "still"


async def test_who_asks_for_spans_keeps_them(monkeypatch):
    """By the SDK's own switch."""
    monkeypatch.setenv(SWITCH, "TRUE")
    made = _traced()
    untrace(made)
    assert hasattr(made.handle, "__wrapped__")


def test_the_services_dispatchers_are_untraced(monkeypatch):
    """Those that its routes use; the SDK's name for its wrappers is still the same."""
    from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
    from a2a.server.routes.rest_dispatcher import RestDispatcher

    monkeypatch.delenv(SWITCH, raising=False)
    untrace(JsonRpcDispatcher, RestDispatcher)
    for cls in (JsonRpcDispatcher, RestDispatcher):
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            assert method.__globals__["__name__"] != "a2a.utils.telemetry", name


def test_what_the_sdk_wraps_beneath_its_spans_stays(monkeypatch):
    """The check of the version, and of HTTP+JSON the answer to an error."""
    from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
    from a2a.server.routes.rest_dispatcher import RestDispatcher

    monkeypatch.delenv(SWITCH, raising=False)
    untrace(JsonRpcDispatcher, RestDispatcher)
    for method in (
        JsonRpcDispatcher._process_non_streaming_request,
        JsonRpcDispatcher._process_streaming_request,
        RestDispatcher.on_message_send,
        RestDispatcher.on_get_task,
    ):
        assert hasattr(method, "__wrapped__"), method
