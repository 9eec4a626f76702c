"""An agent in the gateway's own process: called as a remote one is asked, and bounded as one is."""

from __future__ import annotations

import asyncio
import math
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from mc_platform.adapters.downstream_a2a import A2ADownstream
from mc_platform.adapters.in_process import Downstreams, InProcessAgents
from mc_platform.errors import AgentFailed, Misconfigured
from mc_platform.model.catalogue import Agent
from mc_platform.model.ids import AgentName, TenantId

ROOT = Path(__file__).parents[4]
HERE = sys.modules[__name__]
KEPT: dict[str, Any] = {}


async def echo(parts: Any, about: Any) -> Any:
    KEPT["about"], KEPT["thread"] = about, threading.current_thread()
    return parts


def in_a_thread(parts: Any, about: Any) -> Any:
    KEPT["thread"] = threading.current_thread()
    return (*parts, {"data": {"n": 9007199254740993}})


def changes(parts: Any, about: Any) -> Any:
    parts[0]["text"] = "changed"
    parts[1]["data"]["n"] = 2
    return parts


def raises(parts: Any, about: Any) -> Any:
    raise ValueError("4111 1111 1111 1111")


async def raises_later(parts: Any, about: Any) -> Any:
    await asyncio.sleep(0)
    raise KeyError("4111 1111 1111 1111")


async def ends_itself(parts: Any, about: Any) -> Any:
    raise SystemExit(1)


async def cancels_itself(parts: Any, about: Any) -> Any:
    raise asyncio.CancelledError


async def hangs(parts: Any, about: Any) -> Any:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        KEPT["cancelled"] = True
        raise


async def ignores_its_deadline(parts: Any, about: Any) -> Any:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await asyncio.to_thread(sleeps, parts, about)


def sleeps(parts: Any, about: Any) -> Any:
    KEPT["released"].wait(30)
    KEPT["ended"] = True


class Answering:
    async def __call__(self, parts: Any, about: Any) -> Any:
        KEPT["thread"] = threading.current_thread()
        return parts


an_object = Answering()
NO_FUNCTION = 5


def returning(value: Any) -> None:
    KEPT["value"] = value


async def returns(parts: Any, about: Any) -> Any:
    return KEPT["value"]


def address(name: str) -> str:
    return f"python:{__name__}:{name}"


def agents(*names: str) -> InProcessAgents:
    return InProcessAgents(
        Agent(AgentName(name), address(name), "eu", frozenset()) for name in names
    )


async def ask(name: str, *parts: Any, timeout_s: float = 5.0) -> Any:
    here = agents(name)
    downstream = Downstreams(A2ADownstream(), here)
    try:
        return await downstream.ask(
            tenant=TenantId("TENANT_001"),
            url=address(name),
            message_id="m",
            context_id="c",
            parts=parts or ({"text": "hello"},),
            governance={"tenant": "TENANT_001", "purpose": "support", "residency": "eu"},
            timeout_s=timeout_s,
        )
    finally:
        await downstream.close()


async def test_a_coroutine_function_is_called_on_the_loop_and_told_what_it_is_about() -> None:
    assert await ask("echo") == ({"text": "hello"},)
    assert KEPT["thread"] is threading.current_thread()
    assert KEPT["about"] == {
        "tenant": "TENANT_001",
        "purpose": "support",
        "residency": "eu",
        "messageId": "m",
        "contextId": "c",
    }


async def test_an_object_with_a_coroutine_method_is_called_on_the_loop() -> None:
    assert await ask("an_object") == ({"text": "hello"},)
    assert KEPT["thread"] is threading.current_thread()


async def test_a_function_runs_in_a_thread_and_numbers_stay_exact() -> None:
    assert await ask("in_a_thread") == ({"text": "hello"}, {"data": {"n": 9007199254740993}})
    assert KEPT["thread"] is not threading.current_thread()


async def test_what_an_agent_changes_is_its_own_copy() -> None:
    given = ({"text": "as sent"}, {"data": {"n": 1}})
    assert await ask("changes", *given) == ({"text": "changed"}, {"data": {"n": 2}})
    assert given == ({"text": "as sent"}, {"data": {"n": 1}})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("raises", "ValueError"),
        ("raises_later", "KeyError"),
        ("ends_itself", "SystemExit"),
        ("cancels_itself", "CancelledError"),
    ],
)
async def test_what_it_raises_is_told_by_its_type_only(name: str, kind: str) -> None:
    with pytest.raises(AgentFailed) as caught:
        await ask(name)
    assert caught.value.message == f"the agent failed: {kind}"


@pytest.mark.parametrize("name", ["hangs", "ignores_its_deadline", "sleeps"])
async def test_a_deadline_holds_whatever_the_agent_does(name: str) -> None:
    KEPT.update(released=threading.Event(), ended=False)
    with pytest.raises(AgentFailed, match=r"no whole answer came in 0.05 s"):
        await ask(name, timeout_s=0.05)
    assert not KEPT["ended"]
    KEPT["released"].set()
    await asyncio.sleep(0)
    assert name != "hangs" or KEPT.pop("cancelled")


async def test_a_request_that_is_cancelled_cancels_the_agent() -> None:
    asking = asyncio.create_task(ask("hangs"))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert KEPT.pop("cancelled")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "has no list of parts"),
        ("text", "has no list of parts"),
        ({"text": "a"}, "has no list of parts"),
        (["text"], "has no list of parts"),
        ([{}], "is no A2A part"),
        ([{"text": 5}], "is no A2A part"),
        ([{"text": "a", "data": 1}], "is no A2A part"),
        ([{"raw": "%%%"}], "is no A2A part"),
        ([{"text": "a\0"}], "NUL"),
        ([{"text": "\ud800"}], "is not JSON"),
        ([{"data": math.nan}], "a value is a number outside"),
        ([{"data": math.inf}], "a value is a number outside"),
        ([{"data": 1j}], "is not JSON"),
        ([{"data": {1j: 2}}], "is not JSON"),
        ([{"text": "x" * 4 * 1_048_576}], "exceeds 4194304 bytes"),
        ([{"text": "x"}] * 1001, "has 1001 parts"),
        ([{"data": [math.nan] * 6000}], "6003 JSON values, the limit is 5000"),
        ([{"data": [None] * 6000}], "6003 JSON values, the limit is 5000"),
        ([{"data": ["x" * 1000, None] * 5000}], "exceeds 4194304 bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_is_no_reply_fails_as_a_remote_agents_does(value: Any, why: str) -> None:
    returning(value)
    with pytest.raises(AgentFailed) as caught:
        await ask("returns")
    assert why in caught.value.message


async def test_nesting_is_bounded() -> None:
    deep: Any = []
    for _ in range(40):
        deep = [deep]
    returning([{"data": deep}])
    with pytest.raises(AgentFailed, match="nested deeper than 32"):
        await ask("returns")


async def test_it_is_alive_and_remote_agents_are_asked_as_before() -> None:
    downstream = Downstreams(A2ADownstream(), agents("echo"))
    try:
        assert await downstream.alive(address("echo"))
        assert not await downstream.alive("http://127.0.0.1:1/")
    finally:
        await downstream.close()


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("python:no_such_module:answer", "does not load: ModuleNotFoundError"),
        (address("no_such_name"), "does not load: AttributeError"),
        (address("NO_FUNCTION"), "is not callable"),
    ],
)
def test_what_does_not_load_keeps_the_replica_from_starting(where: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        InProcessAgents([Agent(AgentName("a"), where, "eu", frozenset())])


def test_remote_agents_are_not_loaded() -> None:
    here = InProcessAgents([Agent(AgentName("a"), "http://a.example/", "eu", frozenset())])
    assert "http://a.example/" not in here


async def test_the_guides_example_answers(tmp_path: Path, monkeypatch: Any) -> None:
    guide = (ROOT / "docs/how-to/in-process-agents.md").read_text(encoding="utf-8")
    code = re.search(r'```python title="shop_agent.py"\n(.*?)```', guide, re.DOTALL)
    named = re.search(r'agent = "(.*?)"', guide)
    assert code
    assert named
    (tmp_path / "shop_agent.py").write_text(code[1], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    here = InProcessAgents([Agent(AgentName("shop"), named[1], "eu", frozenset())])
    reply = await here.ask(
        tenant=TenantId("TENANT_001"),
        url=named[1],
        message_id="m",
        context_id="c",
        parts=({"text": "Where is my order?"},),
        governance={},
        timeout_s=5.0,
    )
    assert reply == ({"text": "TENANT_001 asked: Where is my order?"},)


HELD = threading.Event()


def waits(parts: Any, about: Any) -> Any:
    if parts[0]["text"] == "wait":
        HELD.wait(10)
    return parts


def runs_out(parts: Any, about: Any) -> Any:
    return [next(iter(()))]


def is_interrupted(parts: Any, about: Any) -> Any:
    raise KeyboardInterrupt


async def is_interrupted_on_the_loop(parts: Any, about: Any) -> Any:
    raise KeyboardInterrupt


async def of(here: InProcessAgents, tenant: str, text: str, timeout_s: float) -> Any:
    return await here.ask(
        tenant=TenantId(tenant),
        url=address("waits"),
        message_id="m",
        context_id="c",
        parts=({"text": text},),
        governance={},
        timeout_s=timeout_s,
    )


async def test_calls_of_one_tenant_that_overrun_take_no_thread_from_another() -> None:
    here = agents("waits")
    HELD.clear()
    try:
        for _ in range(5):
            asked = [of(here, "TENANT_001", "wait", 0.05) for _ in range(64)]
            failed = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(one) for one in failed} == {AgentFailed}
        assert await of(here, "TENANT_002", "hello", 5.0) == ({"text": "hello"},)
        with pytest.raises(AgentFailed, match="calls that overran their deadline have not ended"):
            await of(here, "TENANT_001", "hello", 5.0)
    finally:
        HELD.set()
    async with asyncio.timeout(5):
        while True:  # as soon as they have ended
            try:
                assert await of(here, "TENANT_001", "hello", 5.0) == ({"text": "hello"},)
                break
            except AgentFailed:
                await asyncio.sleep(0.01)
    here.close()


async def test_as_many_calls_as_there_are_questions_run_at_once() -> None:
    here = InProcessAgents(
        [Agent(AgentName("waits"), address("waits"), "eu", frozenset())], at_once=200
    )
    HELD.clear()
    asked = [asyncio.create_task(of(here, f"T{at % 4}", "wait", 5.0)) for at in range(200)]
    try:
        await asyncio.sleep(0.2)
        assert sum(one.name.startswith("agent-waits") for one in threading.enumerate()) == 200
    finally:
        HELD.set()
        await asyncio.gather(*asked)
        here.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("runs_out", "StopIteration"),
        ("is_interrupted", "KeyboardInterrupt"),
        ("is_interrupted_on_the_loop", "KeyboardInterrupt"),
    ],
)
async def test_what_would_end_a_future_or_the_loop_is_told_as_any_error(
    name: str, kind: str
) -> None:
    with pytest.raises(AgentFailed) as caught:
        await ask(name, timeout_s=1.0)
    assert caught.value.message == f"the agent failed: {kind}"


def burns_in_a_thread(parts: Any, about: Any) -> Any:
    began_s = time.thread_time()
    while time.thread_time() - began_s < 0.05:
        pass
    return parts


async def burns(parts: Any, about: Any) -> Any:
    await asyncio.sleep(0)
    return burns_in_a_thread(parts, about)


@pytest.mark.parametrize("name", ["burns", "burns_in_a_thread"])
async def test_what_it_takes_of_the_cpu_is_its_tenants_cost(name: str) -> None:
    def cost_s() -> float:
        labels = {"tenant": "TENANT_001"}
        return REGISTRY.get_sample_value("mc_cost_cpu_seconds_total", labels) or 0.0

    before_s = cost_s()
    await ask(name)
    assert 0.05 <= cost_s() - before_s < 0.2
