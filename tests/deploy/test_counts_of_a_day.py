"""The figures of a day are what was counted: promtool runs the delivered rules over invented lives of replicas.

promtool evaluates every group at every step, so the copy that it is given evaluates those that wait for
15 minutes at every 15th minute only, and a day is two hours. An oracle in Python knows each count.
"""

from __future__ import annotations

import shutil
import subprocess
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules" / "recording.rules.yml"
STEP_S, KEPT_S, DAY_S, SINCE_S = 60, 900, 7200, 30
STEPS = 300
GROUPS = ("mc-process-counts", "mc-counts-kept", "mc-outcomes-of-a-day")
COUNTER = "mc_autonomy_compensation_total"
FIGURE = 'mc:tenant_counts:increase24h{of="autonomy_compensations"}'
pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (package prometheus)"
)


@dataclass(frozen=True)
class Life:
    """One process: its name, the step of its first scrape and of the one after its last, its counts by step.

    `first` is how many steps pass before its series of the tenant is there; `missed` are steps at which
    it was not scraped.
    """

    name: str
    begins: int
    ends: int
    first: int
    grows: tuple[int, ...]
    missed: frozenset[int]

    def shown(self) -> dict[int, int]:
        """What its counter showed, by step."""
        values = accumulate(self.grows)
        return {
            step: value
            for step, value in zip(range(self.begins, self.ends), values, strict=True)
            if step - self.begins >= self.first and step not in self.missed
        }


@st.composite
def lives(draw: st.DrawFn) -> list[Life]:
    """Three names, each with up to three processes one after the other, and times without scrapes."""
    outage = draw(st.sampled_from([range(0), range(100, 106), range(130, 175), range(95, 180)]))
    made = []
    for name in ("blue-1", "blue-2", "green-1"):
        begins = draw(st.integers(0, 60))
        for _ in range(draw(st.integers(1, 3))):
            ends = min(STEPS, begins + draw(st.integers(2, STEPS)))
            if ends - begins < 2:
                break
            grows = tuple(draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, 40]), min_size=ends - begins, max_size=ends - begins)))  # fmt: skip
            quiet = draw(st.sampled_from([0, 0, 7, 40]))
            if quiet:  # a series that is not there until it counts
                grows = (0,) * min(quiet, len(grows)) + grows[quiet:]
            flaky = frozenset(draw(st.lists(st.integers(begins, ends), max_size=20)))
            made.append(Life(name, begins, ends, quiet, grows, flaky | frozenset(outage)))
            begins = ends + draw(st.sampled_from([0, 1, 5, 30]))
    return made


def _rules() -> dict[str, object]:
    document = yaml.safe_load(RULES.read_text())
    groups = [group for group in document["groups"] if group["name"] in GROUPS]
    assert [group["name"] for group in groups] == list(GROUPS)
    for group in groups:
        for rule in group["rules"]:
            expr = rule["expr"].replace("[1d]", f"[{DAY_S}s]").replace("86400)", f"{DAY_S})")
            if group.get("interval") == "15m":
                expr = f"({expr}) and on () (vector(time()) % {KEPT_S} == 0)"
            rule["expr"] = expr
    return {"groups": groups}


def _series(made: list[Life]) -> list[dict[str, str]]:
    """Of each name its counter and its process' start, as scrapes have shown them."""
    found: list[dict[str, str]] = []
    for name in sorted({life.name for life in made}):
        counts: list[str] = ["stale"] * STEPS
        starts = list(counts)
        for life in made:
            if life.name != name:
                continue
            for step in set(range(life.begins, life.ends)) - life.missed:
                starts[step] = str(life.begins * STEP_S - 5)
            for step, value in life.shown().items():
                counts[step] = str(value)
        where = f'instance="{name}",job="agent-workbench"'
        found += [
            {"series": f'{COUNTER}{{tenant="T",{where}}}', "values": " ".join(counts)},
            {"series": f"process_start_time_seconds{{{where}}}", "values": " ".join(starts)},
        ]
    return found


def _counted(made: list[Life], before_s: float) -> int:
    """What all lives had shown until then."""
    total = 0
    for life in made:
        shown = life.shown()
        at = bisect_right(steps := sorted(shown), before_s // STEP_S)
        total += shown[steps[at - 1]] if at else 0
    return total


def _bounds(made: list[Life], now_s: int) -> tuple[int, int]:
    """The least and the most that a figure of the day may be.

    It begins at a time of keeping, so up to 15 minutes early, and before that by as long as a gap was
    that ended in it. What follows a gap of over half an hour shows when it is kept.
    """
    begins = now_s - SINCE_S - DAY_S
    gap = max((len(life.missed & set(range(95, 180))) * STEP_S for life in made), default=0)
    kept = (now_s - SINCE_S) // KEPT_S * KEPT_S
    least = _counted(made, kept) - _counted(made, begins)
    most = _counted(made, now_s) - _counted(made, begins - KEPT_S - gap)
    if gap < KEPT_S:
        least = _counted(made, now_s) - _counted(made, begins)
    return least, most


def _promtool(folder: Path, tests: list[dict[str, object]]) -> None:
    (folder / "rules.yml").write_text(yaml.safe_dump(_rules()))
    told = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{STEP_S}s",
        "group_eval_order": list(GROUPS),
        "tests": tests,
    }
    (folder / "day.test.yml").write_text(yaml.safe_dump(told))
    done = subprocess.run(
        ["promtool", "test", "rules", "day.test.yml"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(made=lives())
def test_the_figure_of_a_day_is_what_replicas_counted(tmp_path, made):
    """Whatever comes, goes, begins anew or is not scraped; the bounds are those that the docs state."""
    asked = []
    for step in (20, 61, 124, 137, 181, 205, 250, 299):
        least, most = _bounds(made, step * STEP_S)
        asked += [
            {"eval_time": f"{step}m", "expr": expr, "exp_samples": []}
            for expr in (f"{FIGURE} < {least}", f"{FIGURE} > {most}")
        ]
    _promtool(
        tmp_path, [{"interval": "60s", "input_series": _series(made), "promql_expr_test": asked}]
    )


# What is counted, and when it is looked at: the sharp values that the property's bounds leave room for
CASES = {
    "from the first scrape on": ([Life("a", 10, 300, 0, (6, *[0] * 289), frozenset())], 11, 6),
    "a series that begins at six": ([Life("a", 0, 300, 70, (*[0] * 70, 6, *[0] * 229), frozenset())], 71, 6),
    "what ended between two keepings": ([Life("a", 16, 20, 0, (0, 5, 5, 5), frozenset())], 60, 15),
    "two of one name": (
        [Life("a", 0, 40, 0, (1,) * 40, frozenset()), Life("a", 40, 300, 0, (3,) * 260, frozenset())],
        49, 40 + 30,
    ),
    "half an hour that nobody scraped": (
        [Life("a", 0, 300, 0, (1,) * 300, frozenset(range(50, 90)))],
        110, 111,
    ),
    "nothing older than the day": ([Life("a", 0, 300, 0, (*[1] * 60, *[0] * 240), frozenset())], 250, 0),
}  # fmt: skip


def test_single_lives_are_counted_to_the_last(tmp_path):
    """Each of its own, by the exact number."""
    tests = [
        {
            "name": name,
            "interval": "60s",
            "input_series": _series(made),
            "promql_expr_test": [
                {
                    "eval_time": f"{at}m",
                    "expr": FIGURE,
                    "exp_samples": [
                        {"labels": FIGURE.replace("}", ',tenant="T"}'), "value": counted}
                    ],
                }
            ],
        }
        for name, (made, at, counted) in CASES.items()
    ]
    _promtool(tmp_path, tests)


def test_a_process_that_was_there_before_the_day_is_a_beginning(tmp_path):
    """A new Prometheus cannot know what of its count is of today, so it counts from there."""
    where = 'instance="a",job="agent-workbench"'
    series = [
        {"series": f'{COUNTER}{{tenant="T",{where}}}', "values": "500x20 507x40"},
        {"series": f"process_start_time_seconds{{{where}}}", "values": f"-{DAY_S + 60}x60"},
    ]
    labels = FIGURE.replace("}", ',tenant="T"}')
    asked = [{"eval_time": "50m", "expr": FIGURE, "exp_samples": [{"labels": labels, "value": 7}]}]
    _promtool(tmp_path, [{"interval": "60s", "input_series": series, "promql_expr_test": asked}])
