"""What a conversation has had in it before a message, and what holds of it afterwards.

The labels themselves are `model.flow`; here they are gathered from the conversation's tasks, and
from those with which came what the message quotes: words from outside stay words from outside,
whatever conversation they are carried into. A short message that opens one costs no query.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mc_platform.model.flow import (
    AGENT_REPLY,
    DECLARED_ORIGINS,
    DOCUMENT,
    INJECTION_SIGN,
    TOOL_RESULT,
    UNTAINTED,
    Flow,
    joined,
)
from mc_platform.model.ids import ContextId, TaskId, TenantId
from mc_platform.model.label import Part, Screening
from mc_platform.model.made_ids import random_id
from mc_platform.model.task import LEFT_OUT, Task
from mc_platform.ports import Tasks
from mc_platform.record import Sealer
from mc_platform.screen.content import Content
from mc_platform.screen.said import said

_LOOKED_AT = 20
_TAILS_KEPT = 4
_MOST_HOSTS = 64
_TAIL_CHARS = 160
_SIGNS = frozenset({"prompt-injection", "tool-call"})
_LINK = "exfiltration-link"
_PLAIN_LINK = re.compile(
    r"https?://([a-z0-9.-]{1,253})(?::[0-9]{1,5})?(?:[/?#][!-\[\]-~]*)?", re.IGNORECASE
)
_HOST = re.compile(r"https?://([^\s/?#\"'<>)\]\\@:]{1,253})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as a message finds it.

    Attributes:
        flow: What held before the message.
        said: The ends of earlier messages, oldest first.
        heard: The ends of earlier replies as they were released, oldest first.
    """

    id: ContextId
    flow: Flow = UNTAINTED
    said: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()


class Conversations:
    """Reads and continues conversations."""

    def __init__(self, tasks: Tasks, sealer: Sealer) -> None:
        self._tasks = tasks
        self._sealer = sealer

    async def carried(
        self,
        tenant: TenantId,
        task_id: TaskId,
        found: Conversation,
        *,
        repeats: Sequence[int] = (),
        references: Sequence[TaskId] = (),
    ) -> Conversation:
        """The conversation with what the message carries into it from others of the tenant.

        Args:
            repeats: Fingerprints of what it could quote; content that is quoted is from outside.
            references: Earlier tasks that the message refers to; so is what they brought.

        Raises:
            Unavailable: the tasks cannot be read.
        """
        sources = list(await self._tasks.quoted(tenant, repeats)) if repeats else []
        if references:
            sources += await self._tasks.with_ids(tenant, references)
        # What the conversation itself brought in bounds it already
        others = (task for task in sources if task.context_id != found.id and task.id != task_id)
        flows = [flow for task in others if (flow := _after(task)).tainted]
        return replace(found, flow=_with(found.flow, flows)) if flows else found

    async def before(self, tenant: TenantId, context_id: str, task_id: TaskId) -> Conversation:
        """The conversation as it was when the message with this task began.

        A repeat finds what the first one found: what came after it does not count.

        Raises:
            Unavailable: the tasks cannot be read.
        """
        if not context_id:
            return Conversation(ContextId(random_id()))
        known = ContextId(context_id)
        tasks = await self._tasks.conversation(tenant, known, limit=_LOOKED_AT)
        own = next((at for at, task in enumerate(tasks) if task.id == task_id), None)
        earlier = tasks if own is None else tasks[own + 1 :]
        if not earlier:
            return Conversation(known)
        flow = joined(_after(task) for task in earlier)
        if not flow.tainted and len(tasks) == _LOOKED_AT:
            # So many began before a first reply came that the answered ones lie farther back
            answered = await self._tasks.answered(tenant, known)
            flow = joined([flow, *(_after(task) for task in answered)])
        place = _place(tenant, known)
        newest = list(reversed(earlier[:_TAILS_KEPT]))
        return Conversation(
            id=known,
            flow=flow,
            # Each task's own end: of two messages at once neither knew the other's
            said=tuple(
                end for task in newest for end in self._sealer.open(place, task.flow.tail)[-1:]
            ),
            heard=tuple(
                [tail_of((await self._whole(task)).parts) for task in newest if task.parts]
            ),
        )

    async def _whole(self, task: Task) -> Task:
        if task.parts != LEFT_OUT:
            return task
        return await self._tasks.get(task.tenant, task.id) or task

    def continued(
        self,
        before: Conversation,
        *,
        tenant: TenantId,
        came: frozenset[str],
        hosts: frozenset[str],
        classes: frozenset[str],
        tail: str,
        named: frozenset[str],
        tier: int,
    ) -> Flow:
        """What holds once the message is accepted.

        Args:
            came: Where content from outside in it came from.
            hosts: Those that it names; like agents, they count only while nothing taints.
            classes: Of the data in it.
            tail: Its end.
            named: Agents that the message names; they count only while nothing taints.
            tier: Of the operation that it enacts; 0 for a question.
        """
        flow = before.flow
        tainted = flow.tainted or bool(came)
        return Flow(
            origins=flow.origins | came,
            destinations=flow.destinations if flow.tainted else flow.destinations | named,
            hosts=flow.hosts if flow.tainted else _some(flow.hosts | hosts),
            tier=flow.tier if tainted else max(flow.tier, tier),
            classes=flow.classes | classes,
            tail=self._sealer.seal(_place(tenant, before.id), [tail]),
        )


def origins_of(parts: Sequence[Part], screening: Screening) -> frozenset[str]:
    """Where content from outside in a message came from: as its parts say, and as it shows."""
    found = {_origin_of(part) for part in parts}
    if screening.labels and screening.types & _SIGNS:
        found.add(INJECTION_SIGN)
    return frozenset(found - {""})


def _origin_of(part: Part) -> str:
    """Where a part came from; empty: these are the sender's words."""
    metadata = part.get("metadata")
    declared = metadata.get("origin") if isinstance(metadata, dict) else None
    if declared is not None:
        # What we do not know is no claim of innocence
        known = isinstance(declared, str) and declared in DECLARED_ORIGINS
        return declared if known else DOCUMENT
    return DOCUMENT if "raw" in part or "url" in part else ""


def from_outside(parts: Sequence[Part]) -> list[Part]:
    """The parts that are no words of the sender's, as they themselves say or show."""
    return [part for part in parts if _origin_of(part)]


def named_hosts(parts: Sequence[Part]) -> frozenset[str]:
    """Hosts of the links in a request's own text: what a document says names no destination."""
    own = [part for part in parts if not _origin_of(part)]
    seen = Content.of(parts if len(own) == len(parts) else own).leaves
    texts = [leaf.text for leaf in seen if "://" in leaf.text]
    return frozenset([host.lower().rstrip(".") for text in texts for host in _HOST.findall(text)])


def to_known_hosts(screening: Screening, parts: Sequence[Part], hosts: frozenset[str]) -> Screening:
    """The labels without those of links that may carry data, for they lead to a known host.

    Only a link that every reader understands alike counts: no user name, no backslash, ASCII.
    """
    if not hosts or _LINK not in screening.types:
        return screening
    texts = {leaf.path: leaf.text for leaf in Content.of(parts).leaves}

    def leads_there(link: str) -> bool:
        plain = _PLAIN_LINK.fullmatch(link)
        name = plain[1].lower().rstrip(".") if plain else ""
        return any(name == known or name.endswith(f".{known}") for known in hosts if known)

    return Screening(
        tuple(
            label
            for label in screening.labels
            if label.type != _LINK
            or not leads_there(texts.get(label.path, "")[label.start : label.end])
        )
    )


def _with(flow: Flow, carried: Sequence[Flow]) -> Flow:
    """What holds if content of other conversations is carried in: no more than held of each there.

    So it goes where its own conversation could go, and enacts what that could enact.
    """
    bounds = [flow, *carried] if flow.tainted else carried
    return replace(
        flow,
        origins=flow.origins.union(*(one.origins for one in carried)),
        destinations=frozenset.intersection(*(one.destinations for one in bounds)),
        hosts=frozenset.intersection(*(one.hosts for one in bounds)),
        tier=min(one.tier for one in bounds),
    )


def _some(hosts: frozenset[str]) -> frozenset[str]:
    return frozenset(sorted(hosts)[:_MOST_HOSTS])


def texts_of(parts: Sequence[Part]) -> Sequence[str]:
    """Every text that the parts say, as fingerprints are taken of it."""
    return said(parts)[0]


def _after(task: Task) -> Flow:
    """What holds after a task: what it began with, and what it let in."""
    if not task.parts and not task.unreadable:
        return task.flow
    came = TOOL_RESULT if "operation_id" in task.governance else AGENT_REPLY
    return replace(task.flow, origins=task.flow.origins | {came})


def tail_of(parts: Sequence[Part]) -> str:
    """The last words of the parts."""
    pieces: list[str] = []
    room = _TAIL_CHARS
    for leaf in reversed(Content.of(parts).leaves):
        pieces.append(leaf.text[-room:])
        room -= len(pieces[-1]) + 1
        if room <= 0:
            break
    return "\n".join(reversed(pieces))


def _place(tenant: TenantId, context_id: ContextId) -> str:
    return f"{tenant}|{context_id}"
