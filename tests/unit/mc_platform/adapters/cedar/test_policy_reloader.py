"""Hot reload: a good set takes over whole, a broken one never does."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.mc_platform.adapters.cedar.questions import POLICY_DIR, QUESTION

from mc_platform.adapters.cedar.policy_reloader import PolicyReloader
from mc_platform.assembly.background import every
from mc_platform.errors import Misconfigured
from mc_platform.observe import metrics

NOBODY = '@id("nobody") @reason("closed") forbid (principal, action, resource);\n'


@dataclass
class Clock:
    """Time that a test turns on."""

    now: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@dataclass
class Listener:
    """What the reloader told; `down` times it fails first."""

    told: list[tuple[str, str, str, str]] = field(default_factory=list)
    down: int = 0

    async def changed(self, old: str, new: str, reason: str) -> None:
        await self._hear("changed", old, new, reason)

    async def refused(self, old: str, new: str, reason: str) -> None:
        await self._hear("refused", old, new, reason)

    async def _hear(self, *told: str) -> None:
        if self.down:
            self.down -= 1
            raise ConnectionError("the ledger is down")
        self.told.append(told)  # type: ignore[arg-type]


async def look_twice(reloader: PolicyReloader) -> dict[str, Any]:
    """A set is judged when it was seen unchanged; the state afterwards."""
    await reloader.look()
    await reloader.look()
    return reloader.state()


@pytest.fixture
def policy_dir(tmp_path: Path) -> Path:
    """A set without tables, so that any valid change may come into force."""
    folder = Path(shutil.copytree(POLICY_DIR, tmp_path / "policies"))
    shutil.rmtree(folder / "tests")
    return folder


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def reloader(policy_dir: Path, listener: Listener) -> PolicyReloader:
    return PolicyReloader.load(
        policy_dir,
        on_changed=listener.changed,
        on_refused=listener.refused,
        clock=Clock(),
    )


def _reloads(outcome: str) -> float:
    return float(metrics.policy_reloads.labels(outcome)._value.get())


async def test_a_changed_set_takes_over_and_is_told(
    reloader: PolicyReloader, policy_dir: Path, listener: Listener
) -> None:
    """From the next decision on, with its own digest."""
    before, counted = reloader.state(), _reloads("applied")
    assert reloader.decide(QUESTION).allowed
    (policy_dir / "closed.cedar").write_text(NOBODY)
    after = await look_twice(reloader)
    decision = reloader.decide(QUESTION)
    assert (decision.allowed, decision.policy_ids) == (False, ("nobody",))
    assert decision.policy_digest == reloader.digest == after["digest"] != before["digest"]
    assert after["since"] > before["since"]
    assert after["refused"] is None
    assert listener.told == [("changed", before["digest"], after["digest"], "")]
    assert _reloads("applied") == counted + 1


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("broken.cedar", "permit (", "broken.cedar: does not parse"),
        ("broken.cedar", "permit (principal, action, resource);", "lacks @id and @reason"),
        ("schema.cedarschema", "entity ;", "schema.cedarschema"),
        ("broken.cedar", "\udcff", "broken.cedar: it is not UTF-8: byte 1"),
    ],
    ids=["parse", "annotations", "schema", "bytes"],
)
async def test_a_broken_set_never_replaces_a_good_one(
    reloader: PolicyReloader,
    policy_dir: Path,
    listener: Listener,
    name: str,
    text: str,
    reason: str,
) -> None:
    """The good one answers on, and health tells why the other one was refused."""
    before, counted = reloader.digest, _reloads("refused")
    (policy_dir / name).write_bytes(text.encode(errors="surrogateescape"))
    state = await look_twice(reloader)
    assert reloader.decide(QUESTION).allowed
    assert state["digest"] == before
    assert reason in state["refused"]["reason"]
    assert [told[0] for told in listener.told] == ["refused"]
    await look_twice(reloader)
    assert len(listener.told) == 1, "one refusal is told once"
    assert _reloads("refused") == counted + 1


async def test_a_set_whose_own_tables_fail_is_refused(
    reloader: PolicyReloader, policy_dir: Path
) -> None:
    """Valid Cedar that breaks a promise is a broken set, until the promise is changed, too."""
    before = reloader.digest
    shutil.copytree(POLICY_DIR / "tests", policy_dir / "tests")
    (policy_dir / "closed.cedar").write_text(NOBODY)
    state = await look_twice(reloader)
    assert (state["digest"], "its own table fails" in state["refused"]["reason"]) == (before, True)
    shutil.rmtree(policy_dir / "tests")
    state = await look_twice(reloader)
    assert state["digest"] != before
    assert state["refused"] is None


async def test_going_back_to_the_good_set_clears_the_refusal(
    reloader: PolicyReloader, policy_dir: Path, listener: Listener
) -> None:
    """Nothing changed, so nothing is told but the refusal."""
    (policy_dir / "broken.cedar").write_text("permit (")
    assert (await look_twice(reloader))["refused"]
    (policy_dir / "broken.cedar").unlink()
    assert (await look_twice(reloader))["refused"] is None
    assert [told[0] for told in listener.told] == ["refused"]


async def test_a_half_written_set_is_not_taken(reloader: PolicyReloader, policy_dir: Path) -> None:
    """A set that another look finds changed again is not judged at all."""
    before = reloader.digest
    file = policy_dir / "closed.cedar"
    await reloader.look()
    file.write_text("permit (")
    await reloader.look()
    file.write_text('@id("all") @reason("half") permit (principal, action, resource);\n')
    await reloader.look()
    assert reloader.digest == before
    file.write_text(NOBODY)
    await reloader.look()
    assert (reloader.digest, reloader.state()["refused"]) == (before, None)
    await reloader.look()
    assert reloader.decide(QUESTION).policy_ids == ("nobody",)


@pytest.mark.parametrize(
    "condition",
    ["(" * 20_000 + "true" + ")" * 20_000, "true" + " || true" * 20_000, "[" * 3000 + "]" * 3000],
    ids=["parentheses", "a long or", "sets"],
)
async def test_a_set_that_breaks_the_engine_down_leaves_the_one_in_force(
    reloader: PolicyReloader, policy_dir: Path, condition: str
) -> None:
    """The native engine overruns its stack on it, which no handler could catch: a child finds out."""
    before = reloader.digest
    deep = f'@id("deep") @reason("x") permit (principal, action, resource) when {{ {condition} }};'
    (policy_dir / "deep.cedar").write_text(deep)
    state = await look_twice(reloader)
    assert "nests too deeply" in state["refused"]["reason"]
    assert reloader.digest == before


async def test_a_policy_in_a_folder_below_is_not_passed_over(
    reloader: PolicyReloader, policy_dir: Path
) -> None:
    """It would not be in force though it stands there: such a set is refused, and says so."""
    (policy_dir / "more").mkdir()
    (policy_dir / "more" / "nobody.cedar").write_text(NOBODY)
    state = await look_twice(reloader)
    assert "more/nobody.cedar would not be in force" in state["refused"]["reason"]


async def test_a_table_that_nothing_expected_is_a_refusal(
    reloader: PolicyReloader, policy_dir: Path
) -> None:
    """A table that breaks its reader is told in `/health`, and is not looked at for ever."""
    (policy_dir / "tests").mkdir()
    (policy_dir / "tests" / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    state = await look_twice(reloader)
    assert "tests/deep.toml: it is nested too deep" in state["refused"]["reason"]


async def test_a_missing_directory_leaves_the_set_in_force(
    reloader: PolicyReloader, policy_dir: Path
) -> None:
    """Without a set to take, the good one stays."""
    shutil.rmtree(policy_dir)
    state = await look_twice(reloader)
    assert "cannot be read" in state["refused"]["reason"]
    assert reloader.decide(QUESTION).allowed


async def test_a_change_that_could_not_be_told_is_told_later(
    reloader: PolicyReloader, policy_dir: Path, listener: Listener
) -> None:
    """The ledger may be down when a set takes over; the set does not wait, the event does."""
    listener.down = 2
    (policy_dir / "closed.cedar").write_text(NOBODY)
    await look_twice(reloader)
    assert not reloader.decide(QUESTION).allowed
    assert listener.told == []
    await look_twice(reloader)
    assert [told[0] for told in listener.told] == ["changed"]


async def test_a_set_that_is_put_there_meanwhile_is_taken(policy_dir: Path) -> None:
    """Background work looks again and again."""
    reloader = PolicyReloader.load(policy_dir)
    before = reloader.digest
    looking = asyncio.create_task(every(0.01, reloader.look, "postponed"))
    (policy_dir / "closed.cedar").write_text(NOBODY)
    async with asyncio.timeout(60):
        while reloader.digest == before:
            await asyncio.sleep(0.01)
    looking.cancel()


def test_a_first_set_that_fails_its_tables_is_no_start(policy_dir: Path) -> None:
    """There is no good set to stay with."""
    shutil.copytree(POLICY_DIR / "tests", policy_dir / "tests")
    (policy_dir / "closed.cedar").write_text(NOBODY)
    with pytest.raises(Misconfigured, match="its own table fails"):
        PolicyReloader.load(policy_dir)
