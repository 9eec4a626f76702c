"""Day-0's own canary and decision steps, over an override: no new comparison, and it goes on.

The two steps are taken out of `runbooks/day-0.md` as they stand. No platform runs here, so the run
stops at the first of them as it does for any failure; a HOLD is then put where a canary leaves it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests import forked
from tests.canary_ledger import TOKEN, SmallLedger, held, serving
from tests.fake_replica import Replica, replica

from mc_ops.runbooks import load

ROOT = Path(__file__).parents[2]
HEADER = """# Two steps of Day-0

```yaml runbook
id: two
title: Two steps of Day-0
parameters:
- {name: MINUTES, default: "1"}
- {name: RATE, default: ""}
- {name: BASELINE_URLS, default: ""}
- {name: CANDIDATE_URLS, default: ""}
- {name: CANDIDATE_COLOUR, default: green}
- {name: SIDE_REPLICAS, default: "1"}
- {name: RELEASE, default: v9}
- {name: VERDICT, set_by: decide}
```
"""


class Place:
    """A folder with that runbook, a platform's ledger, and a run that stopped with a HOLD."""

    def __init__(self, folder: Path, ledger: SmallLedger, url: str, green: Replica) -> None:
        self.folder, self.ledger, self.url, self.green = folder, ledger, url, green
        text = HEADER
        for step in load(ROOT / "runbooks" / "day-0.md").steps:
            if step.id in ("canary", "decide"):
                fence = f'```sh step={step.id} title="{step.title}" timeout=2m repeat=safe'
                text += f"\n{fence}\n{step.script.text.rstrip()}\n```\n"
        (folder / "runbooks").mkdir()
        (folder / "runbooks" / "two.md").write_text(text)
        home = folder / "home"
        (home / "trust").mkdir(parents=True)
        (home / "trust" / "ledger.pub").write_bytes(ledger.pem)
        (folder / "token").write_text(TOKEN)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.env = kept | {
            "MC_HOME": str(home),
            "MC_EDGE_PORT": "1025",  # nothing listens there
            "MC_TOKEN_FILE": str(folder / "token"),
            "NO_COLOR": "1",
            "COLUMNS": "300",
        }

    def mcctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        return forked.run([forked.MCCTL, *args], cwd=self.folder, env=self.env, timeout=120)

    @property
    def run(self) -> Path:
        """The one run's folder."""
        [found] = (self.folder / "home" / "runs").glob("two-*")
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    ledger = SmallLedger()
    with ExitStack() as stack:
        url = stack.enter_context(serving(ledger))
        green = stack.enter_context(replica("green-1"))
        made = Place(tmp_path, ledger, url, green)
        done = made.mcctl("runbook", "run", "two", "--yes")
        assert "stopped at step canary" in done.stderr, done.stdout + done.stderr
        held(made.run / "canary", healths={green.url: green.health})
        yield made


def test_a_resumed_run_goes_on_with_an_override_and_sends_nothing(place: Place) -> None:
    """HOLD stops it; overridden, the canary step compares nothing and VERDICT says who and why."""
    samples = (place.run / "canary" / "base.lat").read_bytes()
    done = place.mcctl(
        *("canary", "override", place.run.name, "--reason", 'a drill; $(touch x) `id` "q"'),
        *("--yes", "--url", place.url),
    )
    assert done.returncode == 0, done.stderr
    done = place.mcctl("runbook", "run", "two", "--resume", place.run.name, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    told = (
        "VERDICT=HOLD (regressed, rehearsal, margin 0.25), overridden by operator@platform: "
        'a drill; $(touch x) `id` "q"'
    )
    assert told in done.stdout
    assert (place.run / "canary" / "base.lat").read_bytes() == samples
    assert not list(place.run.glob("canary-earlier-*"))
    assert not (place.folder / "x").exists()


def test_a_forged_override_does_not_let_it_pass(place: Place) -> None:
    """A file that another ledger signed: the run stops before the decision, as it did."""
    forged = SmallLedger(seed=9).override_bytes(place.run / "canary")
    (place.run / "canary" / "override.json").write_bytes(forged)
    done = place.mcctl("runbook", "run", "two", "--resume", place.run.name, "--yes")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "overrides nothing" in done.stderr
    assert "stopped at step canary" in done.stderr
    assert "VERDICT" not in done.stdout


def test_a_candidate_exchanged_after_its_override_does_not_pass(place: Place) -> None:
    """HOLD, overridden, restarted, resumed: the run stops, and says what is another."""
    words = ("--reason", "a drill", "--yes", "--url", place.url)
    assert place.mcctl("canary", "override", place.run.name, *words).returncode == 0
    place.green.begin()
    done = place.mcctl("runbook", "run", "two", "--resume", place.run.name, "--yes")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "green-1 is another process" in done.stdout + done.stderr
    assert "VERDICT" not in done.stdout
