"""The open-loop driver: pairs of the same question to both sides, on a schedule that never waits.

A pair's two requests go out half an interval apart, in random order, so that both sides see the
same load and the same bad moments. Where a side has several instances the pairs go round them (pair
`i` to instance `i % count`, so that the sample files tell which), and each instance is asked every
question equally often. Latency counts from the *intended* start: a stalled server
cannot hide by making the driver wait (coordinated omission). The driver's own lateness is kept,
so that a run it spoiled can be voided. Judging is the watch's and the caller's.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np
from aiohttp import hdrs

from mc_contract.judgement.verdict import is_failing
from mc_ops.outgoing import sessions
from mc_ops.service_client import exchange

if TYPE_CHECKING:
    import random

    from numpy.typing import NDArray

    from mc_contract.judgement.verdict import EarlyHold

TIMEOUT_S = 5.0
TIMEOUT = "timeout"
# Kinds of failure that are told apart on a side: the candidate has a say in what they are called
_MOST_FAILURES, _OTHER = 20, "other"
# Below what servers keep an idle connection for: a request on a connection that the server is
# just closing would count as an error of its side.
_KEEP_ALIVE_S = 4.0
_LEAD_S = 0.05
_GC_THRESHOLD = 100_000

Progress = Callable[[int, int, int, int], None]


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: pairs, pairs per second, and where to; a side may have several instances."""

    baseline: Sequence[str]
    candidate: Sequence[str]
    pairs: int
    rate: float
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Sampled:
    """What was measured: seconds in time order (NaN = failed), and how the sending ended.

    Attributes:
        lateness_s: Of each request sent, how long after its intended start it left.
        stopped: `horizon`, `hold` (the watch said so), `interrupted`, or `baseline-failing`.
        base_failures, cand_failures: Why requests failed, and how many so.
        base_refused, cand_refused: Which of the failed ones were refused, to be asked again.
    """

    base_s: NDArray[np.float64]
    cand_s: NDArray[np.float64]
    lateness_s: NDArray[np.float64]
    stopped: str
    base_failures: dict[str, int] = field(default_factory=dict)
    cand_failures: dict[str, int] = field(default_factory=dict)
    base_refused: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    cand_refused: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))


def open_session(token: str) -> aiohttp.ClientSession:
    """A client session for the canary: no limit on connections, no cookies, no proxies."""
    return sessions.open_session(keepalive_s=_KEEP_ALIVE_S, headers=exchange.headers(token))


class PairDriver:
    """Sends one load over one session; `stop` ends it early, after which samples remain usable.

    Attributes:
        rate: Pairs a second; the load's, until somebody finds that it is too high.
    """

    def __init__(
        self, session: aiohttp.ClientSession, load: Load, rng: random.Random, watch: EarlyHold
    ) -> None:
        self._session = session
        self._load = load
        self._rng = rng
        self._watch = watch
        self._questions = exchange.Questions()
        self._timeout = aiohttp.ClientTimeout(total=load.timeout_s)
        self._sides = (tuple(load.baseline), tuple(load.candidate))
        self._round = math.lcm(*(len(side) for side in self._sides))
        self._latency = np.full((2, load.pairs), np.nan)
        self._finished = np.zeros((2, load.pairs), dtype=bool)
        self._refused = np.zeros((2, load.pairs), dtype=bool)
        self._failures: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._lateness: list[float] = []
        self._done = 0  # pairs whose both requests, and all before them, have ended
        self._stopped = asyncio.Event()
        self._why = "horizon"
        self.rate = load.rate

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped it."""
        return self._stopped.is_set()

    def stop(self, why: str) -> None:
        """Send nothing more; the first reason given stands."""
        if not self._stopped.is_set():
            self._why = why
            self._stopped.set()

    async def warm_up(self, pairs: int) -> NDArray[np.float64]:
        """Open connections and warm caches with pairs that nobody measures.

        Returns:
            The baseline's latencies, shape (pairs,), seconds in order of sending; infinite where
            it did not answer in time or refused, NaN where it failed otherwise or was not asked.
        """
        latency_s = np.full((2, pairs), np.nan)

        async def ask(side: int, at: int, due: float) -> None:
            latency_s[side, at] = await self._unmeasured(side, at, due)

        await self._send(asyncio.get_running_loop().time() + _LEAD_S, pairs, ask)
        baseline: NDArray[np.float64] = latency_s[0]
        return baseline

    async def ask_alone(self, count: int) -> NDArray[np.float64]:
        """The baseline's latencies, shape (count,), each request sent when the last has ended."""
        loop = asyncio.get_running_loop()
        latency_s = np.full(count, np.nan)
        for at in range(count):
            latency_s[at] = await self._unmeasured(0, at, loop.time())
            if self.stopped or not np.isfinite(latency_s[at]):
                break  # the measurement will tell what is wrong with it
        return latency_s

    async def _unmeasured(self, side: int, at: int, due: float) -> float:
        latency, failure = await self._ask(side, at, due)
        full = failure == TIMEOUT or failure.startswith(exchange.REFUSED)
        return math.inf if full else latency

    async def run(self, look_every: int, progress: Progress) -> Sampled:
        """Send all pairs, or until the watch holds or `stop` is called.

        Args:
            look_every: Pairs between two looks of the watch.
            progress: Called at each look with pairs done, and the errors of baseline and
                candidate, and the pairs planned.
        """
        loop = asyncio.get_running_loop()
        with _calm_gc():
            looker = asyncio.create_task(self._look(look_every, progress))
            await self._send(loop.time() + _LEAD_S, self._load.pairs, self._measure)
            looker.cancel()
        self._count_done()
        base, cand = (side[: self._done].copy() for side in self._latency)
        base_failures, cand_failures = (dict(counter) for counter in self._failures)
        base_refused, cand_refused = (side[: self._done].copy() for side in self._refused)
        return Sampled(
            base,
            cand,
            np.array(self._lateness),
            self._why,
            base_failures,
            cand_failures,
            base_refused,
            cand_refused,
        )

    async def _send(
        self,
        start: float,
        pairs: int,
        request: Callable[[int, int, float], Coroutine[Any, Any, object]],
    ) -> None:
        """Start every request at its time, whatever became of those before it."""
        loop = asyncio.get_running_loop()
        half = 0.5 / self.rate
        running: set[asyncio.Task[object]] = set()
        for at in range(pairs):
            first = self._rng.getrandbits(1)
            for turn, side in enumerate((first, 1 - first)):
                due = start + (2 * at + turn) * half
                if not await self._wait_until(due):
                    break
                task = loop.create_task(request(side, at, due))
                running.add(task)
                task.add_done_callback(running.discard)
            if self._stopped.is_set():
                break
        if self._why == "interrupted":
            for task in running:
                task.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)

    async def _wait_until(self, due: float) -> bool:
        """Sleep until `due`; False when the run was stopped meanwhile."""
        wait = due - asyncio.get_running_loop().time()
        # Even a late request yields once, so that answers are read while the driver catches up.
        await asyncio.sleep(max(0.0, wait))
        return not self._stopped.is_set()

    async def _measure(self, side: int, at: int, due: float) -> None:
        self._lateness.append(asyncio.get_running_loop().time() - due)
        latency, failure = await self._ask(side, at, due)
        if failure:
            counted = self._failures[side]
            known = failure in counted or len(counted) < _MOST_FAILURES
            counted[failure if known else _OTHER] += 1
            self._refused[side, at] = failure.startswith(exchange.REFUSED)
        # Microseconds, as the files have them: the verdict from the files must be this one.
        self._latency[side, at] = round(latency, 6)
        self._finished[side, at] = True

    async def _ask(self, side: int, at: int, due: float) -> tuple[float, str]:
        """Seconds from the intended start to the answer's last byte, or NaN and what failed."""
        urls = self._sides[side]
        try:
            async with self._session.post(
                urls[at % len(urls)],
                data=self._questions.body(self._question(at)),
                timeout=self._timeout,
                allow_redirects=False,  # another's answer is no sample of this instance
            ) as answer:
                body = await exchange.body_of(answer)
                latency = asyncio.get_running_loop().time() - due
                again = hdrs.RETRY_AFTER in answer.headers
                failure = exchange.failure_of(answer.status, body, retry_after=again)
        except TimeoutError:
            failure = TIMEOUT
        except exchange.AnswerTooLarge:
            failure = exchange.TOO_LARGE
        except (aiohttp.ClientError, OSError) as error:
            failure = f"connection {type(error).__name__}"
        return (math.nan, failure) if failure else (latency, "")

    def _question(self, at: int) -> int:
        """The question of a pair: another one whenever the same two instances meet again.

        The pair's own number would not do: with two instances, one would only ever be asked the
        even questions, and a question that is slow would look like an instance that is.
        """
        return at // self._round + at % self._round

    def _count_done(self) -> None:
        while self._done < self._load.pairs and self._finished[:, self._done].all():
            self._done += 1

    async def _look(self, look_every: int, progress: Progress) -> None:
        """Let the watch look whenever another step of pairs is complete."""
        looked = 0
        while not self._stopped.is_set():
            await asyncio.sleep(look_every / self.rate / 2)
            self._count_done()
            if self._done < looked + look_every:
                continue
            looked = self._done - self._done % look_every
            base, cand = self._latency[0, :looked], self._latency[1, :looked]
            failed = np.isnan(base), np.isnan(cand)
            progress(looked, int(failed[0].sum()), int(failed[1].sum()), self._load.pairs)
            if self._watch.advance(base, cand) is not None:
                self.stop("hold")
            elif failed[0][-look_every:].all() or is_failing(int(failed[0].sum()), looked):
                self.stop("baseline-failing")


@contextmanager
def _calm_gc() -> Iterator[None]:
    """Keep the collector from pausing the driver: what exists is frozen, new rounds are rare."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
