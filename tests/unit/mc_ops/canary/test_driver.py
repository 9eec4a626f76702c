"""The driver's promises that a whole run does not show."""

from __future__ import annotations

import math
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from mc_contract.judgement.verdict import EarlyHold
from mc_ops.canary.driver import Load, PairDriver, Sampled, open_session

Edge = Callable[..., Any]


async def _drive(load: Load) -> Sampled:
    async with open_session("mc_test_canary") as session:
        driver = PairDriver(session, load, random.Random(1), EarlyHold(1.0, load.pairs))
        return await driver.run(10_000, lambda *_: None)


async def test_driver_frozen_server_counts_from_intended_start(edge: Edge) -> None:
    """Requests due while a server hangs carry the wait: no coordinated omission."""
    base, cand = edge(), edge(latency_s=0.3, spread_s=0.0)
    sampled = await _drive(Load([base.url], [cand.url], pairs=100, rate=500.0))
    # Closed-loop, 100 requests of 0.3 s would have taken 30 s; open-loop all went out in 0.2 s.
    assert len(sampled.lateness_s) == 200
    assert (sampled.cand_s >= 0.3).all()
    assert len(cand.questions) == len(base.questions) == 100


async def test_driver_timeout_is_error(edge: Edge) -> None:
    """A request that takes longer than the timeout is a failed request."""
    base, cand = edge(), edge(error_every=2, error_style="hang")
    sampled = await _drive(Load([base.url], [cand.url], pairs=20, rate=100.0, timeout_s=1.0))
    assert int(np.isnan(sampled.cand_s).sum()) == 10
    assert not np.isnan(sampled.base_s).any()


async def test_driver_order_within_pairs_is_random(edge: Edge) -> None:
    """Neither side always goes first."""
    base = edge()
    order: list[str] = []
    lock = threading.Lock()
    one, two = edge(), edge()
    for name, side in (("base", one), ("cand", two)):
        side.questions = _Recorder(name, order, lock)
    await _drive(Load([one.url], [two.url], pairs=60, rate=200.0))
    firsts = order[0::2]
    assert {"base", "cand"} <= set(firsts)
    assert base.questions == []


@pytest.mark.parametrize(("baselines", "candidates"), [(1, 1), (2, 2), (2, 3), (1, 4)])
async def test_driver_asks_every_instance_every_question(
    edge: Edge, baselines: int, candidates: int
) -> None:
    """No instance gets the easy questions: each is asked all of them, equally often."""
    sides = [edge() for _ in range(baselines)], [edge() for _ in range(candidates)]
    rounds = math.lcm(baselines, candidates)
    urls = [[one.url for one in side] for side in sides]
    sampled = await _drive(Load(*urls, pairs=10 * rounds, rate=300.0))
    assert np.isfinite([sampled.base_s, sampled.cand_s]).all()
    for side in sides:
        for one in side:
            asked = Counter(message["parts"][0]["text"] for message in one.questions)
            assert len(asked) == 10
            assert set(asked.values()) == {rounds // len(side)}


class _Recorder(list[dict[str, Any]]):
    """A list of questions that also writes down whose turn it was."""

    def __init__(self, name: str, order: list[str], lock: threading.Lock) -> None:
        super().__init__()
        self._name, self._order, self._lock = name, order, lock

    def append(self, message: dict[str, Any]) -> None:
        """Keep the question and its side."""
        with self._lock:
            self._order.append(self._name)
        super().append(message)


async def test_driver_reads_no_answer_without_end(edge: Edge) -> None:
    """A candidate that sends and sends fails its questions; it does not fill the driver's memory."""
    base = edge()
    app = web.Application()

    async def flood(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with suppress(ConnectionError):
            while True:
                await answer.write(b" " * 65536)
        return answer

    app.router.add_post("/", flood)
    with sys.modules["fake_edge"].serving_app(app) as url:
        sampled = await _drive(Load([base.url], [url], pairs=20, rate=200.0))
    assert sampled.cand_failures == {"answer over 1048576 bytes": 20}
    assert not np.isnan(sampled.base_s).any()


async def test_driver_counts_no_answer_of_another(edge: Edge) -> None:
    """A candidate that sends its questions on to the baseline has answered none of them."""
    base = edge()
    app = web.Application()

    async def send_on(_request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(base.url)

    app.router.add_post("/", send_on)
    with sys.modules["fake_edge"].serving_app(app) as url:
        sampled = await _drive(Load([base.url], [url], pairs=20, rate=200.0))
    assert np.isnan(sampled.cand_s).all()
    assert sampled.cand_failures == {"http 307": 20}
    assert len(base.questions) == 20


async def test_driver_keeps_pairs_after_an_answer_that_nobody_can_read(edge: Edge) -> None:
    """What the candidate answers never ends a request without a sample; the pairs go on."""
    base = edge()
    app = web.Application()
    bodies = iter(5 * [b"[" * 200_000, b'{"error":{"code":1e999}}'])

    async def odd(_request: web.Request) -> web.Response:
        return web.Response(body=next(bodies))

    app.router.add_post("/", odd)
    with sys.modules["fake_edge"].serving_app(app) as url:
        sampled = await _drive(Load([base.url], [url], pairs=10, rate=200.0))
    assert len(sampled.cand_s) == 10
    assert sampled.cand_failures == {"json-rpc answer without a task": 10}


async def test_driver_tells_a_bounded_number_of_failures_apart(edge: Edge) -> None:
    """A candidate with a new failure each time does not fill verdict and report with them."""
    base = edge()
    app = web.Application()
    codes = iter(range(100, 200))

    async def new(_request: web.Request) -> web.Response:
        return web.json_response({"error": {"code": next(codes)}})

    app.router.add_post("/", new)
    with sys.modules["fake_edge"].serving_app(app) as url:
        sampled = await _drive(Load([base.url], [url], pairs=50, rate=200.0))
    assert len(sampled.cand_failures) == 21
    assert sampled.cand_failures["other"] == 30
