"""Comparisons that a stand-in for `mcctl` carries out as a test says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mc_ops.canary.serve import configuration
from mc_ops.canary.serve.comparisons import Comparisons

FILE = """
[comparison.workbench]
kind = "pairs"
minutes = 10
baseline = ["http://blue:8080"]
candidate = ["http://green:8080"]

[comparison.other]
kind = "pairs"
minutes = 10
baseline = ["http://one:8080"]
candidate = ["http://two:8080"]

[comparison.checkout]
kind = "metrics"
minutes = 5
metrics = "rules.toml"
prometheus = "http://prometheus:9090"
baseline_selector = 'hash!="{run}"'
candidate_selector = 'hash="{run}"'
"""
RULES = """
[[metric]]
name = "errors"
query = 'sum(rate(errors_total{$side}[1m]))'
direction = "increase"
allowed_change = { relative = 0.1 }
critical = true
"""
ENDINGS: dict[str, dict[str, Any]] = {
    "promote": {"exit": 0, "verdict": {"verdict": "PROMOTE", "kind": "promoted", "reason": "fine"}},
    "hold": {
        "exit": 1,
        "verdict": {"verdict": "HOLD", "kind": "regressed", "reason": "60 % worse", "margin": 0.05},
    },
    "inconclusive": {
        "exit": 1,
        "verdict": {"verdict": "HOLD", "kind": "inconclusive", "reason": "4,000 pairs needed"},
    },
    "error": {"exit": 3, "says": "✘ error baseline http://blue:8080: it is down\n  → look"},
}


@dataclass
class World:
    """A server's folder, its clock, and what the next command does."""

    folder: Path
    config: Path
    told: Path
    now: datetime = datetime(2026, 12, 1, tzinfo=UTC)

    def ends(self, how: dict[str, Any] | str, *, when: Path | None = None) -> None:
        """Commands that start from now on end so; not before `when` exists, if it is given."""
        what = ENDINGS[how] if isinstance(how, str) else how
        self.told.write_text(json.dumps(what | ({"waits_for": str(when)} if when else {})))

    def starts(self) -> list[dict[str, Any]]:
        """The commands that were started."""
        file = self.told.with_suffix(".starts")
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def server(self) -> Comparisons:
        """As a server that is started has them."""
        return Comparisons(
            configuration.read(self.config),
            self.folder,
            command=(sys.executable, str(Path(__file__).with_name("fake_mcctl.py"))),
            now=lambda: self.now,
        )

    def passes(self, minutes: float) -> None:
        """Let time pass."""
        self.now += timedelta(minutes=minutes)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A folder with nothing in it; files are dated by the machine's clock, so the fake one is near."""
    (tmp_path / "rules.toml").write_text(RULES)
    config = tmp_path / "canary.toml"
    config.write_text(FILE)
    monkeypatch.setenv("FAKE_MCCTL", str(tmp_path / "told.json"))
    made = World(tmp_path / "kept", config, tmp_path / "told.json", datetime.now(UTC))
    made.ends("promote")
    return made


@pytest.fixture
def comparisons(world: World) -> Iterator[Comparisons]:
    """Those of one server, which ends with the test."""
    made = world.server()
    yield made
    made.close()


@pytest.fixture
def verdict(wait_until: Callable[..., Any]) -> Callable[..., Any]:
    """The state of a comparison once it is final."""

    def of(comparisons: Comparisons, name: str, run: str) -> Any:
        def final() -> Any:
            state = comparisons.look(name, run)
            return state if state.final else None

        return wait_until(final, what=f"{name} of {run} has a verdict")

    return of
