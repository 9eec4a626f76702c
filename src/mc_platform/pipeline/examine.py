"""Everything that costs by the size and shape of a message's parts, in one place.

`Examiner` does it: digest, screening, redaction, fingerprints. `ExaminationRoom` says where: what
is small at once, on the event loop; what is not in a worker process, one call for all of it, with a
share for each tenant. A call that takes too long ends in the label `screening-limit` for all of the
message: policy then refuses what nobody has looked through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from mc_contract.canonical import canonical_json, plain_canonical_json
from mc_contract.keepable import MOST_DIGITS
from mc_platform.bulkheads import Slots
from mc_platform.errors import Overdue
from mc_platform.model.flow import DOCUMENT
from mc_platform.model.ids import TenantId
from mc_platform.model.label import NO_SCOPE, Label, Part, Scope, Screening
from mc_platform.observe import metrics
from mc_platform.pipeline.conversation import (
    from_outside,
    named_hosts,
    origins_of,
    tail_of,
    texts_of,
    to_known_hosts,
)
from mc_platform.ports import EntityRecogniser, Screener
from mc_platform.record import ContentFingerprints, Digester
from mc_platform.screen import LibraryScreener
from mc_platform.screen.content import Content
from mc_platform.screen.findings import SCREENING_LIMIT
from mc_platform.screen.pseudonyms import Pseudonymiser
from mc_platform.screen.said import said

_R = TypeVar("_R")
_SMALL_S = 0.01
"""What may be examined on the event loop, by its estimate: an upper bound for hostile shapes."""
_SHORT_CHARS = 16_384
_DEADLINE = "deadline"
_WAIT_S = 20.0
_AT_WORK = 8
"""Small messages of one tenant that are worked on at once: enough to wait for the database in turn."""
_MOST_WAITING = 1024
_EXACT = Context(prec=MOST_DIGITS)
_WITHHELD: tuple[Part, ...] = ({"text": "[withheld]"},)


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is known of a request's parts.

    Attributes:
        digest: Of what it means: the same for a repeat.
        origins: Where content from outside in it came from.
        hosts: Those of links in its own text.
        tail: Its end, for the next message's screening.
        repeats: Fingerprints of what it could repeat.
        quotable: Fingerprints of what it brings from outside.
    """

    digest: str
    screening: Screening
    origins: frozenset[str]
    hosts: frozenset[str]
    tail: str
    repeats: tuple[int, ...]
    quotable: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is known of a reply's parts; `quotable`: the fingerprints by which they are known."""

    screening: Screening
    quotable: tuple[int, ...]


@dataclass(kw_only=True)
class Examiner:
    """The work itself: synchronous and pure. It travels to worker processes with its keys.

    Attributes:
        screener: Not sent along: a worker has its own, of the same kind.
        entities: What the screener asks for names beside its rules.
        pseudonyms: None: a replaced value is never told again.
    """

    screener: Screener
    digester: Digester
    fingerprints: ContentFingerprints
    pseudonyms: Pseudonymiser | None = None
    entities: EntityRecogniser | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the screener, which is compiled and large."""
        return {**vars(self), "screener": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take up work in another process."""
        vars(self).update(state, screener=screener_of_process(state["entities"]))

    def digest(self, parts: Sequence[Part], meaning: Mapping[str, Any], like: str = "") -> str:
        """What a repeat of a request has the same of; `like`: see `Digester.digest`."""
        plain = plain_canonical_json({**meaning, "parts": list(parts)})
        if plain is None:
            plain = canonical_json({**meaning, "parts": _without_floats(list(parts))})
        return self.digester.digest(plain, like)

    def incoming(
        self,
        tenant: TenantId,
        parts: Sequence[Part],
        meaning: Mapping[str, Any],
        scope: Scope,
        said: Sequence[str],
    ) -> Incoming:
        """Examine a request.

        Args:
            meaning: What else the request means; it is digested together with the parts.
            said: The ends of earlier messages of the conversation, oldest first.
        """
        content = Content.of(parts)
        screening = self.screener.screen(content, scope, said)
        return self._incoming(tenant, content, meaning, screening)

    def unscreened(
        self, tenant: TenantId, parts: Sequence[Part], meaning: Mapping[str, Any]
    ) -> Incoming:
        """The same, where screening would take too long."""
        return self._incoming(tenant, parts, meaning, not_screened(parts))

    def _incoming(
        self,
        tenant: TenantId,
        parts: Sequence[Part],
        meaning: Mapping[str, Any],
        screening: Screening,
    ) -> Incoming:
        content = Content.of(parts)
        texts, complete = said(content)
        origins = origins_of(content, screening)
        repeats = self.fingerprints.looked_for(tenant, texts)
        if self.fingerprints.are_looked_for_whole(texts):
            content.repeats = tenant, frozenset(repeats)
        return Incoming(
            digest=self.digest(content, meaning),
            screening=screening,
            # What is too long to be looked for in what came from outside may be from there
            origins=origins if complete else origins | {DOCUMENT},
            hosts=named_hosts(content),
            tail=tail_of(content),
            repeats=repeats,
            quotable=self.quotable(tenant, from_outside(content)),
        )

    def outgoing(
        self,
        tenant: TenantId,
        parts: Sequence[Part],
        asked: Sequence[Part],
        scope: Scope,
        heard: Sequence[str],
        hosts: frozenset[str],
    ) -> Outgoing:
        """Examine a reply.

        Args:
            asked: The request's parts, whose own words a reply may repeat.
            heard: The ends of earlier replies.
            hosts: Those to which links may carry data.
        """
        content = Content.of(parts)
        screening = to_known_hosts(self.screener.screen(content, scope, heard), content, hosts)
        return Outgoing(screening, self._kept(tenant, content, asked))

    def redacted(
        self,
        tenant: TenantId,
        parts: Sequence[Part],
        asked: Sequence[Part],
        scope: Scope,
        screening: Screening,
        pseudonyms: bool,
    ) -> tuple[tuple[Part, ...], tuple[int, ...]]:
        """The parts with every labelled span replaced, and their fingerprints."""
        made = self.pseudonyms.replacer(tenant) if pseudonyms and self.pseudonyms else None
        redacted = self.screener.redact(parts, screening, scope, made)
        return redacted, self._kept(tenant, redacted, asked)

    def _kept(
        self, tenant: TenantId, parts: Sequence[Part], asked: Sequence[Part]
    ) -> tuple[int, ...]:
        """Fingerprints of a reply, without what it only repeats of the request."""
        known = asked.repeats if isinstance(asked, Content) else None
        if known is not None and known[0] == tenant:
            return self.fingerprints.kept(tenant, texts_of(parts), looked_for=known[1])
        return self.fingerprints.kept(tenant, texts_of(parts), texts_of(asked))

    def revealed(self, tenant: TenantId, text: str) -> tuple[str, dict[str, int]]:
        """A text with the tenant's pseudonyms opened, and how many of each type."""
        return self.pseudonyms.reveal(tenant, text) if self.pseudonyms else (text, {})

    def quotable(self, tenant: TenantId, parts: Sequence[Part]) -> tuple[int, ...]:
        """Fingerprints by which what comes from outside is known when it is quoted."""
        return self.fingerprints.kept(tenant, texts_of(parts)) if parts else ()


class Workers(Protocol):
    """Processes in which synchronous work is done. Behind it: `adapters.worker_processes`."""

    @property
    def count(self) -> int:
        """How many calls run at once."""

    async def run(self, work: Callable[..., _R], *args: Any) -> tuple[_R, float]:
        """What `work(*args)` returns in a worker, and the seconds of CPU that it took there.

        Raises:
            Overdue: it took longer than any call may.
            Unavailable: the worker ended meanwhile.
        """


class ExaminationRoom:
    """Where messages are examined.

    Args:
        workers: None: everything is examined at once, whatever its size (tests, offline tools).
        queued_per_tenant: Large messages of one tenant that may wait.
        charge: Takes what a tenant's work has cost off what it may still send.
    """

    def __init__(
        self,
        examiner: Examiner,
        workers: Workers | None = None,
        *,
        queued_per_tenant: int = 16,
        charge: Callable[[TenantId, float], None] = lambda _tenant, _cpu_s: None,
    ) -> None:
        self._examiner = examiner
        self._workers = workers
        self._charge = charge
        self._at_work = Slots(
            "messages at work", per_tenant=_AT_WORK, wait_s=_WAIT_S, most_waiting=_MOST_WAITING
        )
        self._turns = (
            None
            if workers is None
            else Slots(
                "large messages",
                per_tenant=max(1, workers.count - 1),
                total=workers.count,
                wait_s=_WAIT_S,
                most_waiting=queued_per_tenant,
            )
        )

    def at_work(
        self, tenant: TenantId, *messages: Sequence[Part], patient: bool = False
    ) -> AbstractAsyncContextManager[None]:
        """Work on a message that has come, or on its reply: a few of one tenant at once.

        Hundreds that come together would each wait for the work on all others, those of other
        tenants, too. What is large has its turn for a worker instead.

        Args:
            tenant: Whose it is.
            messages: Its parts, and those of the request that it answers.
            patient: For a reply to what was accepted: before the tenant's requests, never refused.

        Raises:
            RateLimited: the tenant's others took too long, or too many of them wait.
        """
        if self._is_small(*messages):
            return self._at_work.held(tenant, patient=patient)
        return nullcontext()

    async def incoming(
        self,
        tenant: TenantId,
        parts: Sequence[Part],
        meaning: Mapping[str, Any],
        scope: Scope = NO_SCOPE,
        said: Sequence[str] = (),
    ) -> Incoming:
        """See `Examiner.incoming`.

        Raises:
            RateLimited: too many large messages of the tenant wait already.
            Unavailable: a worker ended; nothing is known of the message.
        """
        parts = Content.of(parts)
        if self._is_small(parts):
            return self._examiner.incoming(tenant, parts, meaning, scope, said)
        async with self._turn(tenant, patient=False):
            try:
                return await self._call(
                    tenant, self._examiner.incoming, tenant, parts, meaning, scope, said
                )
            except Overdue:
                return await self._call(tenant, self._examiner.unscreened, tenant, parts, meaning)

    async def digest(
        self, tenant: TenantId, parts: Sequence[Part], meaning: Mapping[str, Any], like: str = ""
    ) -> str:
        """See `Examiner.digest`.

        Raises:
            RateLimited, Unavailable.
        """
        if self._is_small(parts):
            return self._examiner.digest(parts, meaning, like)
        async with self._turn(tenant, patient=False):
            return await self._call(tenant, self._examiner.digest, parts, meaning, like)

    async def outgoing(
        self,
        tenant: TenantId,
        parts: Sequence[Part],
        *,
        asked: Sequence[Part] = (),
        scope: Scope = NO_SCOPE,
        heard: Sequence[str] = (),
        hosts: frozenset[str] = frozenset(),
    ) -> Outgoing:
        """See `Examiner.outgoing`; a reply always gets its turn, before the tenant's requests."""
        parts = Content.of(parts)
        given = (tenant, parts, asked, scope, heard, hosts)
        if self._is_small(parts, asked):
            return self._examiner.outgoing(*given)
        async with self._turn(tenant, patient=True):
            try:
                return await self._call(tenant, self._examiner.outgoing, *given)
            except Overdue:
                return Outgoing(not_screened(parts), ())

    async def redacted(
        self,
        tenant: TenantId,
        parts: Sequence[Part],
        screening: Screening,
        *,
        asked: Sequence[Part] = (),
        scope: Scope = NO_SCOPE,
        pseudonyms: bool = False,
    ) -> tuple[tuple[Part, ...], tuple[int, ...]]:
        """See `Examiner.redacted`; what cannot be redacted in time is replaced whole."""
        if any(label.detector == _DEADLINE for label in screening.labels):
            return _WITHHELD, ()  # nobody knows what is to be replaced
        given = (tenant, parts, asked, scope, screening, pseudonyms)
        if self._is_small(parts, asked):
            return self._examiner.redacted(*given)
        async with self._turn(tenant, patient=True):
            try:
                return await self._call(tenant, self._examiner.redacted, *given)
            except Overdue:
                return _WITHHELD, ()

    async def revealed(
        self, asking: TenantId, tenant: TenantId, text: str
    ) -> tuple[str, dict[str, int]]:
        """See `Examiner.revealed`; in the turn of the tenant that asks.

        Raises:
            Overdue, Unavailable.
        """
        if len(text) <= _SHORT_CHARS:
            return self._examiner.revealed(tenant, text)
        return await self.apart(asking, self._examiner.revealed, tenant, text)

    async def apart(self, tenant: TenantId, work: Callable[..., _R], *args: Any) -> _R:
        """Do other work on what a tenant's agent sent in the tenant's turn, in a worker.

        Raises:
            Overdue, Unavailable.
        """
        if self._workers is None:
            return work(*args)
        async with self._turn(tenant, patient=True):
            return await self._call(tenant, work, *args)

    def _is_small(self, *messages: Sequence[Part]) -> bool:
        if self._workers is None:
            return True
        cost_s, modelled = 0.0, self._examiner.entities is not None
        for parts in messages:
            if parts:
                cost_s += Content.of(parts).cost_s(modelled=modelled)
        return cost_s <= _SMALL_S

    def _turn(self, tenant: TenantId, *, patient: bool) -> AbstractAsyncContextManager[None]:
        assert self._turns is not None
        return self._turns.held(tenant, patient=patient)

    async def _call(self, tenant: TenantId, work: Callable[..., _R], *args: Any) -> _R:
        """Call a worker in a tenant's turn, and count what it costs."""
        assert self._workers is not None
        outcome, began, cpu_s = "failed", time.monotonic(), 0.0
        try:
            result, cpu_s = await self._workers.run(work, *args)
            outcome = "done"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Overdue:
            outcome = "overdue"
            cpu_s = time.monotonic() - began
            raise
        finally:
            metrics.worker_calls.labels(outcome, tenant).inc()
            metrics.cost_cpu.labels(tenant).inc(cpu_s)
            self._charge(tenant, cpu_s)
        return result


def not_screened(parts: Sequence[Part]) -> Screening:
    """The labels of parts that could not be screened in time: each part's whole."""
    return Screening(
        tuple(
            Label(SCREENING_LIMIT, (index, key), 0, len(value), 1.0, _DEADLINE)
            if isinstance(value, str)
            else Label(SCREENING_LIMIT, (index, key), 0, 0, 1.0, _DEADLINE)
            for index, part in enumerate(parts)
            for key, value in part.items()
        )
    )


@lru_cache(maxsize=1)
def screener_of_process(entities: EntityRecogniser | None) -> LibraryScreener:
    """The screener of a worker process, compiled once."""
    return LibraryScreener(entities=entities)


def _without_floats(value: Any) -> Any:
    """Numbers in one spelling each: an SDK's 5.0 in a retry of 5 is the same request."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, Decimal):  # more digits than a float holds
        return int(value) if value == value.to_integral_value() else str(value.normalize(_EXACT))
    if isinstance(value, dict):
        return {str(key): _without_floats(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_floats(item) for item in value]
    return value
