"""One run: cases are made, tried, judged, and looked for in every channel.

Before anything is attacked, the red-team shows that it would see: a planted leak that its own eyes
miss is no trial, and an agent that does not answer with what was planted ends the run.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mc_contract.proportions import binomial_tail
from mc_ops.errors import CouldNotTell
from mc_ops.redteam import benign, channels
from mc_ops.redteam.case import Answer, Case, Row
from mc_ops.redteam.families import FAMILIES, Family
from mc_ops.redteam.judge import judge
from mc_ops.redteam.target import Target

DEFAULT_ATTACKS, DEFAULT_BENIGN, DEFAULT_WORDINGS = 2400, 2000, 200
_AT_ONCE = 12
_PLANT_AT_ONCE = 400
_TIMED_FAMILY = "existence-oracles"
_TIMED_AGAIN = 4  # even: each of a pair is first as often as the other
_TELLING = 0.001
_SETTLE_TRIES = 150
_SETTLE_PAUSE_S = 0.2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is tried.

    Attributes:
        seed: The same seed makes the same cases.
        families: Which attacks.
        attacks, benign, wordings: How many of each, over all families.
        outside: Cases from files.
    """

    seed: int
    families: tuple[Family, ...] = FAMILIES
    attacks: int = DEFAULT_ATTACKS
    benign: int = DEFAULT_BENIGN
    wordings: int = DEFAULT_WORDINGS
    outside: tuple[Case, ...] = ()

    def cases(self) -> list[Case]:
        """All of them, in an order that mixes kinds."""
        each = math.ceil(self.attacks / len(self.families)) if self.families else 0
        made = [case for family in self.families for case in family.cases(self.seed, each)]
        made += benign.cases(self.seed, self.benign)
        made += benign.wordings(self.seed, self.wordings)
        made += self.outside
        random.Random(self.seed).shuffle(made)  # noqa: S311 - an order, no secret
        return made


@dataclass(slots=True)
class Result:
    """What a run found.

    Attributes:
        rows: One a case, in the order of the cases' ids.
        channels: The channels that were looked through, beside the answers.
        unread: Those that should have been, and could not.
        timing: For each form of the existence family: pairs, how often the one that exists was
            slower, and the two-sided p-value of the sign test; `again`: the same of fresh pairs,
            where the first told something.
        health: What the platform said of itself, before and after.
    """

    rows: list[Row]
    channels: list[str]
    unread: list[str] = field(default_factory=list)
    timing: dict[str, dict[str, Any]] = field(default_factory=dict)
    health: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})


async def run(
    target: Target, made: Sequence[Case], watch: channels.Watch, progress: Progress
) -> Result:
    """Attack the platform with cases as `Size` makes them.

    Raises:
        CouldNotTell: it does not answer, or replies cannot be planted as they must.
    """
    before = await target.health()
    since = await channels.newest(target)
    run_name = secrets.token_hex(4)
    cases = [_named(case, run_name) for case in made]
    await _plant(target, cases, run_name)
    timed = [case for case in cases if case.family == _TIMED_FAMILY]
    others = [case for case in cases if case.family != _TIMED_FAMILY]
    answers: dict[str, list[Answer]] = {}
    done = 0

    async def attempt(case: Case) -> None:
        nonlocal done
        answers[case.id] = await _try(target, case, run_name)
        done += 1
        progress(done, len(cases))

    await _side_by_side([lambda case=case: attempt(case) for case in others])  # type: ignore[misc]
    for case in timed:  # alone: what others do to the machine would be measured
        await attempt(case)
    timing = await confirmed_timing(target, timed, run_name, answers)
    found = {case.id: judge(case, answers[case.id]) for case in cases}
    await _settle(target)
    over_http = await channels.told(target, since)
    unread = sorted(name for name, raw in over_http.items() if raw is None)
    elsewhere = watch.grown() | {name: raw for name, raw in over_http.items() if raw is not None}
    for case_id, channel in channels.leaks(cases, elsewhere).items():
        row = found[case_id]
        if row.kind == "attack" and row.outcome == "blocked":
            found[case_id] = replace(row, outcome="missed", channel=channel)
    slow = {form for form, told in timing.items() if tells(told) and tells(told.get("again"))}
    for case in timed:
        if case.form in slow and found[case.id].outcome == "blocked":
            found[case.id] = replace(found[case.id], outcome="missed", channel="time to answer")
    rows = [found[case.id] for case in sorted(cases, key=lambda case: case.id)]
    return Result(rows, sorted(elsewhere), unread, timing, (before, await target.health()))


def _named(case: Case, run_name: str) -> Case:
    """A case whose message ids are this run's own: an earlier one with its seed used them up."""
    asks = tuple(
        replace(ask, message_id=f"{ask.message_id}-{run_name}") if ask.message_id else ask
        for ask in case.asks
    )
    return replace(case, asks=asks)


async def _try(target: Target, case: Case, run_name: str) -> list[Answer]:
    answers: list[Answer] = []
    task = ""
    for ask in case.asks:
        number = case.asks.index(ask)  # of the same request twice, the first
        answer = await target.ask(ask, _key(run_name, case, number), task)
        if answer.status in (0, 429, 502, 503) and answer.problem:
            await asyncio.sleep(_SETTLE_PAUSE_S)  # once more: a blip is no trial
            answer = await target.ask(ask, _key(run_name, case, number), task)
        answers.append(answer)
        if ask.setup and answer.task:
            task = answer.task
    return answers


def _key(run_name: str, case: Case, number: int) -> str:
    return f"{run_name}-{case.id}-{number}"


async def _plant(target: Target, cases: Sequence[Case], run_name: str) -> None:
    replies = {
        _key(run_name, case, number): list(ask.reply)
        for case in cases
        for number, ask in enumerate(case.asks)
        if ask.reply
    }
    keys = list(replies)
    for at in range(0, len(keys), _PLANT_AT_ONCE):
        await target.plant({key: replies[key] for key in keys[at : at + _PLANT_AT_ONCE]})
    if keys and not await target.tells(keys[0], replies[keys[0]]):
        raise CouldNotTell(
            "the sample agent does not answer with what was planted",
            hint="does --agent-url name the agent that this platform asks?",
        )


async def _side_by_side(jobs: Sequence[Callable[[], Awaitable[None]]]) -> None:
    waiting: Iterator[Callable[[], Awaitable[None]]] = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await job()

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def confirmed_timing(
    target: Target, cases: Sequence[Case], run_name: str, answers: Mapping[str, Sequence[Answer]]
) -> dict[str, dict[str, Any]]:
    """The timing of each form; one that tells is measured once more, since one in a thousand is chance.

    Args:
        target: Who is asked, one question at a time.
        cases: Each with two questions that are no setup: of what exists, and of what does not.
        run_name: The run's own name, in every message's id.
        answers: What the cases were answered before, by their ids.
    """
    timing = await _timing(target, cases, run_name, answers)
    telling = [case for case in cases if tells(timing.get(case.form))]
    for form, told in (await _timing(target, telling, run_name, answers)).items():
        timing[form]["again"] = told
    return timing


def tells(told: Mapping[str, Any] | None) -> bool:
    """Whether a timing is no chance any more."""
    return told is not None and told["p_value"] < _TELLING


async def _timing(
    target: Target, cases: Sequence[Case], run_name: str, answers: Mapping[str, Sequence[Answer]]
) -> dict[str, dict[str, Any]]:
    """Whether what exists is told by how long its refusal takes: a sign test over pairs.

    The pairs' order alternates, so that being first counts for neither.
    """
    slower: dict[str, list[bool]] = {}
    for case in cases:
        first, second = (place for place, ask in enumerate(case.asks) if not ask.setup)
        task = next((answer.task for answer in answers[case.id] if answer.task), "")
        for turn in range(_TIMED_AGAIN):
            order = (first, second) if turn % 2 else (second, first)
            taken = {}
            for place in order:
                ask = case.asks[place]
                taken[place] = (await target.ask(ask, _key(run_name, case, place), task)).taken_s
            if taken[first] != taken[second]:
                slower.setdefault(case.form, []).append(taken[first] > taken[second])
    return {
        form: {"pairs": len(told), "slower": sum(told), "p_value": sign_test(sum(told), len(told))}
        for form, told in sorted(slower.items())
    }


def sign_test(heads: int, tosses: int) -> float:
    """The two-sided p-value of the sign test: a fair coin, `heads` of `tosses`."""
    if not tosses:
        return 1.0
    return min(1.0, 2 * binomial_tail(max(heads, tosses - heads), tosses, 0.5))


async def _settle(target: Target) -> None:
    """Wait until the SIEM has taken everything, for it is one of the channels."""
    for _ in range(_SETTLE_TRIES):
        metrics = await target.metrics()
        left = [line for line in metrics.split("\n") if line.startswith("mc_siem_backlog_events")]
        if all(float(line.rsplit(" ", 1)[1]) == 0 for line in left):
            return
        await asyncio.sleep(_SETTLE_PAUSE_S)


def watched(home: Path) -> dict[str, Path]:
    """The local platform's files: what it logs, what the SIEM got, what was done."""
    return {
        "logs": home / "log",
        "SIEM": home / "siem",
        "SIEM backup": home / "audit",
        "effects": home / "fulfilment",
    }
