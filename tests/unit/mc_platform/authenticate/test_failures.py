"""Guessing: counted, told without the token, limited for each client; valid credentials never are."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from mc_platform.authenticate import GuardedAuthenticator
from mc_platform.authenticate import failures as module
from mc_platform.errors import NotAuthenticated, RateLimited
from mc_platform.model.tenant import Principal
from mc_platform.observe import metrics

WRONG = f"Bearer mc_{'0' * 12}_{'x' * 43}"
GOOD = f"Bearer mc_{'a' * 12}_{'y' * 43}"
STRAY = f"Bearer mc_{'b' * 12}_{'z' * 43}"


class Inner:
    """Knows one credential, and how many are looked up at once."""

    def __init__(self):
        self.at_once = self.most = 0
        self.cached = False

    def known(self, authorization):
        return "principal" if self.cached and authorization == GOOD else None

    def forget(self, key_id):
        """Nothing is kept."""

    async def authenticate(self, authorization):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if authorization == STRAY:
            raise NotAuthenticated("no", strayed=Principal("agent@t9", "T9", "b" * 12))
        if authorization != GOOD:
            raise NotAuthenticated("no")
        return "principal"


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def inner():
    return Inner()


@pytest.fixture
def guarded(inner, clock):
    return GuardedAuthenticator(inner, per_min=60, burst=3, monotonic=lambda: clock[0])


async def refusals(guarded, count, client="198.51.100.1", header=WRONG):
    """What so many wrong credentials get, one after the other."""
    found = []
    for _ in range(count):
        with pytest.raises((NotAuthenticated, RateLimited)) as error:
            await guarded.authenticate(header, lambda: client)
        found.append(error.value.http_status)
    return found


async def test_the_burst_then_one_for_each_second(guarded, clock):
    """Time gives back what it should and no more; others are not touched."""
    assert await refusals(guarded, 5) == [401, 401, 401, 429, 429]
    assert await refusals(guarded, 1, client="198.51.100.2") == [401]
    clock[0] = 2.0
    assert await refusals(guarded, 3) == [401, 401, 429]
    clock[0] = 1000.0
    assert await refusals(guarded, 4) == [401, 401, 401, 429]


@pytest.mark.parametrize("header", [None, "Basic x", "Bearer short", WRONG])
async def test_over_the_limit_all_that_is_wrong_is_refused_alike(guarded, header):
    """The kind of mistake cannot be told from the refusal."""
    await refusals(guarded, 3)
    with pytest.raises(RateLimited, match="had no valid credential") as error:
        await guarded.authenticate(header, lambda: "198.51.100.1")
    assert error.value.retry_after_s >= 1


@pytest.mark.parametrize("cached", [False, True])
async def test_a_valid_credential_passes_beside_a_flood(guarded, inner, cached):
    """Looked up by few at a time, so the flood takes few connections of the database."""
    await refusals(guarded, 3)
    inner.most = 0
    flood = [asyncio.create_task(refusals(guarded, 1)) for _ in range(100)]
    inner.cached = cached
    assert await guarded.authenticate(GOOD, lambda: "198.51.100.1") == "principal"
    assert [status for [status] in await asyncio.gather(*flood)] == [429] * 100
    assert inner.most <= 2


async def test_clients_without_end_take_no_memory_without_end(guarded, monkeypatch):
    """The oldest are forgotten."""
    monkeypatch.setattr(module, "_MOST_CLIENTS", 10)
    for number in range(50):
        await refusals(guarded, 1, client=f"client {number}")
    assert len(guarded._left) == 10


async def test_failures_are_counted_by_reason_and_told_now_and_then(guarded, clock):
    """No line has the token; a flood writes a line every ten seconds, and is a warning."""

    def counted(reason):
        return metrics.authentication_failures.labels(reason)._value.get()

    before = {reason: counted(reason) for reason in ("missing", "malformed", "unknown")}
    with structlog.testing.capture_logs() as lines:
        await refusals(guarded, 2)
        await refusals(guarded, 1, header=None)
        await refusals(guarded, 1, header="Bearer sesame")
        clock[0] = 10.0
        await refusals(guarded, 1)
    grown = {reason: counted(reason) - before[reason] for reason in before}
    assert grown == {"missing": 1, "malformed": 1, "unknown": 3}
    assert {line["client"] for line in lines} == {"198.51.100.1"}
    assert [(line["log_level"], line["since_last"]) for line in lines] == [
        ("info", 1),
        ("warning", 1),  # the fourth, which is over the limit
        ("info", 3),
    ]
    assert "xxx" not in str(lines)
    assert "sesame" not in str(lines)


async def test_a_credential_of_no_tenant_is_told_by_name(guarded):
    """Whoever runs the platform reads which one, and what to do; the token is not told."""

    def counted(reason):
        return metrics.authentication_failures.labels(reason)._value.get()

    before = counted("no_tenant"), counted("unknown")
    with structlog.testing.capture_logs() as lines:
        assert await refusals(guarded, 4, header=STRAY) == [401, 401, 401, 429]
    assert (counted("no_tenant"), counted("unknown")) == (before[0] + 4, before[1])
    [line] = lines
    assert (line["reason"], line["tenant"], line["key_id"]) == ("no_tenant", "T9", "b" * 12)
    assert "catalogue" in line["hint"]
    assert "zzz" not in str(lines)
