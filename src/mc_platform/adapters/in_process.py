"""Agents that are a Python callable of the operator's; implements `ports.Downstream`.

The catalogue names one as `agent = "python:module:callable"`. It is imported when a replica starts,
and called with the request's parts and what the request is about (`tenant`, `purpose`,
`residency`, `messageId`, `contextId`). A coroutine function runs on the event loop, anything else in
threads of the agent's own. What it returns is read as a remote agent's reply is: the same bounds, the
same checks, the same errors. What it raises is told by its type only.

A thread cannot be stopped: one that overruns its deadline stays until its call returns, though the
question's place is free again. So a tenant of which many have not returned is refused further calls
of that agent, and there are more threads than questions at once: its calls take no thread from another
tenant's, whose wait for one would be taken for the agent's.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from typing import Any

import structlog

from mc_contract.keepable import NotKeepable, check_keepable, json_bytes
from mc_platform.adapters.downstream_a2a import (
    SMALL_REPLY_BYTES,
    A2ADownstream,
    read_apart,
    read_parts,
    refuse_large,
)
from mc_platform.errors import AgentFailed, Misconfigured
from mc_platform.model.catalogue import PYTHON_AGENT, Agent
from mc_platform.model.ids import TenantId
from mc_platform.model.label import Part
from mc_platform.model.shape import ShapeLimits
from mc_platform.observe import metrics
from mc_platform.observe.cost import Metered

_AT_ONCE = 128
_THREADS_PER_QUESTION = 2
_MOST_OVERDUE = 16  # calls of one tenant in threads of one agent
_DEEPEST = 64
_SHAPE = ShapeLimits()
_log = structlog.get_logger()


class InProcessAgents:
    """The callables of the catalogue's agents.

    Args:
        agents: Those of them whose address is a callable are loaded.
        shape: What a reply may hold.
        apart: Does work on a tenant's behalf off the event loop; large replies are read there.
        at_once: How many questions one agent may be asked at once.

    Raises:
        Misconfigured: one cannot be loaded, or is not callable.
    """

    def __init__(
        self,
        agents: Iterable[Agent],
        *,
        shape: ShapeLimits = _SHAPE,
        apart: Callable[..., Awaitable[Any]] | None = None,
        at_once: int = _AT_ONCE,
    ) -> None:
        self._shape = shape
        self._apart = apart
        threads = _THREADS_PER_QUESTION * at_once
        addresses = {agent.url for agent in agents if agent.url.startswith(PYTHON_AGENT)}
        self._calls = {address: _Call(address, threads) for address in sorted(addresses)}

    def __contains__(self, url: str) -> bool:
        """Whether the address is one of these."""
        return url in self._calls

    async def ask(
        self,
        *,
        tenant: TenantId,
        url: str,
        message_id: str,
        context_id: str,
        parts: Sequence[Part],
        governance: Mapping[str, str],
        timeout_s: float,
    ) -> tuple[Part, ...]:
        """Call the agent; see `ports.Downstream`."""
        about = {**governance, "tenant": tenant, "messageId": message_id, "contextId": context_id}
        # What it is given is its own: it may change it
        given = [
            dict(part) if len(part) == 1 and "text" in part else copy.deepcopy(part)
            for part in parts
        ]
        answered = await self._calls[url].ended(tenant, given, about, timeout_s)
        raw = _json_of(answered, self._shape)
        if len(raw) <= SMALL_REPLY_BYTES:
            return read_parts(raw, self._shape)
        return await read_apart(self._apart, tenant, read_parts, raw, shape=self._shape)

    def close(self) -> None:
        """Begin no further calls; those in threads end by themselves."""
        for call in self._calls.values():
            call.close()


class _Call:
    """One agent's callable and its threads."""

    def __init__(self, address: str, threads: int) -> None:
        _, module, name = address.split(":")
        try:
            self._function: Callable[..., Any] = attrgetter(name)(import_module(module))
        except Exception as error:
            raise Misconfigured(
                f"agent {address!r} does not load: {type(error).__name__}",
                hint="install its module beside the service, or put it on PYTHONPATH",
            ) from error
        if not callable(self._function):
            raise Misconfigured(f"agent {address!r} is not callable")
        self._address = address
        called = getattr(self._function, "__call__", None)  # noqa: B004 - an object's own method
        self._on_loop = any(map(inspect.iscoroutinefunction, (self._function, called)))
        self._threads = ThreadPoolExecutor(threads, f"agent-{name}")
        self._overdue: dict[TenantId, set[Future[Any]]] = {}

    async def ended(
        self, tenant: TenantId, parts: list[Part], about: dict[str, str], timeout_s: float
    ) -> Any:
        """What the callable returns.

        Raises:
            AgentFailed: it raised, or its deadline passed; it is cancelled then, or, in a thread,
                left to end. Or too many of the tenant's calls were left so.
        """
        in_thread: Future[Any] | None = None
        under_way: asyncio.Future[Any]
        if self._on_loop:
            under_way = asyncio.get_running_loop().create_task(self._awaited(tenant, parts, about))
        else:
            self._refuse_beside_overdue(tenant)
            in_thread = self._threads.submit(self._called, tenant, parts, about)
            under_way = asyncio.wrap_future(in_thread)
        try:
            done, _ = await asyncio.wait({under_way}, timeout=timeout_s)
        finally:
            under_way.cancel()
            if in_thread is not None and not in_thread.done():
                self._overdue.setdefault(tenant, set()).add(in_thread)
        if not done:
            under_way.add_done_callback(_forget)
            raise AgentFailed(f"the agent failed: no whole answer came in {timeout_s:g} s")
        try:
            return under_way.result()
        except asyncio.CancelledError as error:  # the agent's own
            raise self._failed(error) from None
        finally:
            del under_way, in_thread, done  # they hold the error, whose traceback holds this frame

    def _refuse_beside_overdue(self, tenant: TenantId) -> None:
        left = {call for call in self._overdue.pop(tenant, ()) if not call.done()}
        if left:
            self._overdue[tenant] = left
        if len(left) >= _MOST_OVERDUE:
            raise AgentFailed(
                f"the agent failed: {len(left)} calls that overran their deadline have not ended",
                hint="the agent's owner: let the function end within `timeout_s`",
            )

    def _called(self, tenant: TenantId, parts: list[Part], about: dict[str, str]) -> Any:
        began_s = time.thread_time()
        try:
            return self._function(parts, about)
        except BaseException as error:  # noqa: BLE001 - no future takes StopIteration, no loop SystemExit
            raise self._failed(error) from None
        finally:
            metrics.add(metrics.cost_cpu, time.thread_time() - began_s, tenant)

    async def _awaited(self, tenant: TenantId, parts: list[Part], about: dict[str, str]) -> Any:
        metered = Metered(self._answer(parts, about))
        try:
            return await metered
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a task that ends by SystemExit ends the loop
            raise self._failed(error) from None
        finally:
            metrics.add(metrics.cost_cpu, metered.cpu_s, tenant)

    async def _answer(self, parts: list[Part], about: dict[str, str]) -> Any:
        return await self._function(parts, about)

    def _failed(self, error: BaseException) -> AgentFailed:
        kind = type(error).__name__
        _log.warning("agent_raised", agent=self._address, error=kind)
        return AgentFailed(f"the agent failed: {kind}")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Downstreams:
    """Remote agents and those in this process, each by its address; implements `ports.Downstream`."""

    def __init__(self, remote: A2ADownstream, here: InProcessAgents) -> None:
        self._remote = remote
        self._here = here

    def ask(self, *, url: str, **request: Any) -> Coroutine[Any, Any, tuple[Part, ...]]:
        """See `ports.Downstream`."""
        agents: A2ADownstream | InProcessAgents = self._here if url in self._here else self._remote
        return agents.ask(url=url, **request)

    async def alive(self, url: str) -> bool:
        """Whether the agent can be asked: one in this process can."""
        return url in self._here or await self._remote.alive(url)

    async def close(self) -> None:
        """Close the connections, and begin no further calls."""
        self._here.close()
        await self._remote.close()


def _json_of(answered: Any, shape: ShapeLimits) -> bytes:
    """What an agent returned, as JSON.

    Raises:
        AgentFailed: it is no list of parts, or holds what is no JSON, or more than a reply may.
    """
    if not isinstance(answered, list | tuple):
        raise AgentFailed("the agent's reply has no list of parts")
    try:
        raw = json_bytes(answered)
        if b"null" in raw:  # so the encoder writes NaN and infinity, too
            refuse_large(raw, shape)  # on the event loop
            check_keepable(answered, most_depth=_DEEPEST)
    except NotKeepable as error:
        raise AgentFailed(f"the agent's reply cannot be kept: a value {error.why}") from None
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise AgentFailed("the agent's reply is not JSON") from None
    return raw


def _forget(ended: asyncio.Future[Any]) -> None:
    """Take the result that nobody waits for, so that it is not logged with what it holds."""
    with suppress(asyncio.CancelledError):
        ended.exception()
