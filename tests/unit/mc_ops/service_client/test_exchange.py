"""Answers that a candidate makes up: each is a failed request, whatever it holds."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from mc_ops.service_client import exchange

DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"result":{"task":{"status":{"state":' + DEEP,
        b'{"error":{"code":1e999}}',
        b'{"error":{"code":NaN}}',
        b'{"error":{"code":' + b"9" * 4000 + b"}}",
        b'{"error":{"code":' + b"9" * 5000 + b"}}",
        b"[]",
        b"\xff\xfe",
    ],
)
def test_failure_of_answer_without_meaning(body: bytes) -> None:
    """Nothing in an answer raises, and nothing in it becomes a long name."""
    assert exchange.failure_of(200, body) == "json-rpc answer without a task"


def test_failure_of_state_that_is_no_text() -> None:
    """A state may be anything; it is told only if it is one."""
    body = json.dumps({"result": {"task": {"status": {"state": [[["x"]]]}}}}).encode()
    assert exchange.failure_of(200, body) == "task without a known state"


def test_failure_of_error_code_is_told() -> None:
    """A code of JSON-RPC is what people look for."""
    assert exchange.failure_of(200, b'{"error":{"code":-32603}}') == "json-rpc -32603"


async def test_body_of_many_pieces_is_joined_once() -> None:
    """A megabyte in tiny pieces costs the driver what one in a single piece does, nearly."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20_000):
            yield b"x" * 50

    answer: Any = SimpleNamespace(content=SimpleNamespace(iter_any=pieces))
    began = time.process_time()
    assert len(await exchange.body_of(answer)) == 1_000_000
    assert time.process_time() - began < 0.2  # copied at each piece it takes seconds
