"""The table of the benchmarks, and what counts as worse than the baseline."""

from __future__ import annotations

from pathlib import Path

import _baseline
import bench
import pytest
from _baseline import Baseline, Cost, Machine, read, worse, write
from _rounds import Round, Side, beside, versus
from _table import Row, Series, finish, tables
from _table import read as read_rows
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

MACHINE = Machine(processor="p", cores=2, system="s", python="3.13", control_us=100.0)


def row(*cpu_us: float, peer_us: float = 10.0, **more: object) -> Row:
    given = {"what": "proxy", "beside": "bare proxy", "values": (0.8,), "at_least": 0.8} | more
    return Row(**given, cpu_us=cpu_us, peer_cpu_us=(peer_us,) * len(cpu_us))  # type: ignore[arg-type]


def baseline(*rows: Row) -> Baseline:
    return Baseline(machine=MACHINE, rows={one.key: Cost.of(one) for one in rows})


def test_a_row_dearer_by_more_than_a_tenth_and_outside_the_spread_is_worse() -> None:
    [line] = worse([row(11.5, 12.0, 12.5)], baseline(row(9.8, 10.0, 10.2)))
    assert line.startswith(
        "proxy / bare proxy: CPU a request is 1.2 times the peer's (1.15 to 1.25)"
    )
    assert "in the baseline 1 (0.98 to 1.02): +20%, 10% is allowed" in line


@pytest.mark.parametrize(
    ("now", "before"),
    [
        pytest.param((10.9,), (10.0,), id="within a tenth"),
        pytest.param((9.9, 12.0, 13.0), (9.8, 10.0, 10.2), id="within the spread"),
        pytest.param((5.0,), (10.0,), id="cheaper"),
    ],
)
def test_what_is_not_worse(now: tuple[float, ...], before: tuple[float, ...]) -> None:
    assert worse([row(*now)], baseline(row(*before))) == []


@given(slower=st.floats(0.1, 10))
def test_a_machine_that_is_slower_for_both_sides_makes_no_row_worse(slower: float) -> None:
    now = row(10.0 * slower, 10.2 * slower, peer_us=10.0 * slower)
    assert worse([now], baseline(row(10.0, 10.2))) == []


def test_a_row_that_the_baseline_does_not_have_or_without_a_peers_cpu_is_not_compared() -> None:
    alone = Row(what="proxy", beside="bare proxy", values=(1.0,), cpu_us=(99.0,))
    assert worse([row(99.0, what="new"), alone], baseline(row(1.0))) == []


def test_what_is_written_is_read_and_rows_that_were_not_measured_stay(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    write([row(1.0), row(2.0, what="other")], file)
    write([row(3.0)], file)
    assert [one.cpu_us for one in read(file).rows.values()] == [2.0, 3.0]


def test_a_baseline_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    write([row(1.0)], file)
    file.write_text(file.read_text().replace('"cpu_us"', '"cpu_ms"'))
    with pytest.raises(ValidationError):
        read(file)


@given(exponent=st.floats(-2, 3), first=st.floats(0.1, 100))
def test_the_exponent_of_a_power_law_is_its_power(exponent: float, first: float) -> None:
    points = tuple((float(n), (first * n**exponent,)) for n in (3, 30, 300, 3000))
    made = Series(what="w", size="tenants", unit="ms", points=points)
    assert made.exponent == pytest.approx(exponent, abs=1e-6)


def test_targets_of_a_series_are_of_its_growth() -> None:
    adds_up = Series(
        what="events/s", size="replicas", unit="/s", at_least=((2, 1.8), (4, 3.0)),
        points=((1, (100.0,)), (2, (185.0,)), (4, (290.0,))),
    )  # fmt: skip
    assert [str(one) for one in adds_up.limits] == [
        "at 2 >= 1.8 x: met", "at 4 >= 3 x: MISSED",
    ]  # fmt: skip


def test_tables_have_a_line_for_each_and_the_scripts_code_tells_a_missed_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    flat = Series(
        what="request", size="tenants", unit="ms", points=((3, (1.0,)), (9, (1.05,))),
        at_most=((9, 1.1),),
    )  # fmt: skip
    assert finish([row(7.0, 8.0)], file) == 0
    assert finish([row(7.0, 8.0, values=(0.7,)), flat], file) == 1
    found = read_rows(file)
    assert [type(one) for one in found] == [Row, Row, Series]
    made = tables(found)
    assert "| 0.7    | 7.5 us/request" in made
    assert "3: 1, 9: 1.05 = 1.05x" in made
    assert "at 9 <= 1.1 x: met" in made
    assert capsys.readouterr().out.count("MISSED") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": (float("nan"),)},
        {"values": ()},
        {"at_most": 1.0},
        {"cpu_us": (1.0, 2.0), "peer_cpu_us": (1.0,)},
        {"cpu_us": (0.0,), "peer_cpu_us": (1.0,)},
    ],
)
def test_a_row_that_tells_nothing_true_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Row(**({"what": "w", "beside": "b", "values": (1.0,), "at_least": 1.0} | wrong))  # type: ignore[arg-type]


def test_sizes_that_do_not_grow_and_targets_at_no_size_are_refused() -> None:
    points = ((2.0, (1.0,)), (1.0, (1.0,)))
    with pytest.raises(ValidationError, match="must be above 0 and grow"):
        Series(what="w", size="s", unit="u", points=points)
    with pytest.raises(ValidationError, match="no value at"):
        Series(what="w", size="s", unit="u", points=points[:1], at_most=((5.0, 1.0),))


def test_a_row_of_two_sides_divides_round_by_round() -> None:
    ours, peer = Side("ours"), Side("peer")
    for elapsed_s in (1.0, 2.0):
        ours.rounds.append(Round([0.1] * 10, elapsed_s * 2, cpu_s=0.3, database_cpu_s=0.1))
        peer.rounds.append(Round([0.1] * 10, elapsed_s, cpu_s=0.2))
    [made] = beside("inserts", [ours, peer], "ours", per="request", at_least={"peer": 0.6})
    assert made.values == (0.5, 0.5)
    assert made.relative_cpu == pytest.approx((2.0, 2.0))
    assert made.cpu_us == pytest.approx((40_000.0, 40_000.0))
    assert [str(one) for one in made.limits] == [">= 0.6: MISSED"]
    latency = versus("p50", ours, peer, per="request", figure=lambda one: one.p50_ms, at_most=1.6)
    assert latency.values == (1.0, 1.0)


def test_a_run_that_is_worse_names_the_row_and_how_to_renew_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "baseline.json"
    monkeypatch.setattr(_baseline, "FILE", file)
    assert not bench.compare([row(10.0)], write=False)  # there is none yet
    write([row(10.0)], file)
    assert not bench.compare([row(10.5)], write=False)
    assert bench.compare([row(20.0)], write=False)
    said = capsys.readouterr().err
    assert "worse than the baseline: proxy / bare proxy" in said
    assert "make bench BASELINE=write" in said


def test_the_baseline_of_the_repository_can_be_read() -> None:
    assert read(_baseline.FILE).rows


def test_a_row_that_was_not_measured_is_printed_with_its_reason() -> None:
    row = Row(what="proxy", beside="another", note="not installed")
    assert row.cells() == ("proxy", "another", "-", "-", "-", "-", "not installed")
