"""The replicas as recorded and with the proposed window: in a line of text, and as a PNG."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from mc_ops.autoscaler.oscillation import Series, reversal_times, values_at
from mc_ops.errors import UnusableInput
from mc_ops.incidents.hpa_oscillation.playbook import HpaDiagnosis

_BLOCKS = "▁▂▃▄▅▆▇█"
_SHOWN_S = 3600.0
_COLUMN_S = 60.0


def sparklines(diagnosis: HpaDiagnosis) -> list[str]:
    """The hour that turns most often (a character is a minute): as recorded, and by replay.

    Both lines have one scale, from the least to the most replicas of either.
    """
    recorded = diagnosis.recorded.replicas
    start_s = _busiest(recorded)
    end_s = min(start_s + _SHOWN_S, recorded[-1][0])
    rows = [("recorded", _columns(recorded, start_s, end_s))]
    if diagnosis.window and diagnosis.proposed_s is not None:
        replayed = _columns(diagnosis.window.replayed, start_s, end_s)
        rows.append((f"{diagnosis.proposed_s} s", replayed))
    shown = [count for _, counts in rows for count in counts]
    least, most = min(shown), max(shown)
    begin = datetime.fromtimestamp(start_s, UTC)
    lines = [f"{begin:%Y-%m-%d %H:%M} UTC, {(end_s - start_s) / 60:.0f} min, {least} to {most}:"]
    return lines + [f"  {name:<9} {_line(counts, least, most)}" for name, counts in rows]


def _busiest(series: Series) -> float:
    """Where the shown hour begins: at the move before the reversals of the busiest hour."""
    times = reversal_times(series)
    latest_s = max(series[0][0], series[-1][0] - _SHOWN_S)
    if not times:
        return latest_s
    best = max(times, key=lambda at: sum(at <= other < at + _SHOWN_S for other in times))
    return min(max(series[0][0], best - 5 * _COLUMN_S), latest_s)


def _columns(series: Series, start_s: float, end_s: float) -> list[int]:
    """The count at the end of each minute."""
    columns = range(max(1, int((end_s - start_s) / _COLUMN_S)))
    return list(values_at(series, (start_s + (column + 1) * _COLUMN_S for column in columns)))


def _line(counts: list[int], least: int, most: int) -> str:
    steps = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[round((count - least) / (most - least) * steps) if most > least else 0]
        for count in counts
    )


def write_picture(diagnosis: HpaDiagnosis, path: Path) -> None:
    """The whole record as a PNG: replicas as recorded, by replay, and the demand if measured.

    Raises:
        UnusableInput: The file cannot be written.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    begin = diagnosis.found.start_s
    _step(axes, diagnosis.recorded.replicas, begin, label="recorded", color="#c53030")
    window = diagnosis.window
    if window and diagnosis.proposed_s is not None:
        label = f"by replay, {diagnosis.proposed_s} s"
        _step(axes, window.replayed, begin, label=label, color="#2b6cb0")
    axes.set_xlabel(f"minutes from {datetime.fromtimestamp(begin, UTC):%Y-%m-%d %H:%M} UTC")
    axes.set_ylabel("replicas")
    axes.set_ylim(bottom=0)
    axes.set_title(
        f"HPA: {diagnosis.verdict.value}; {diagnosis.found.why}; "
        f"window now {diagnosis.rules.down.window_s} s",
        fontsize=9,
    )
    axes.legend(loc="lower left")
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise UnusableInput(f"cannot write the picture {path}: {error.strerror}") from error


def _step(axes: object, series: Series, begin: float, *, label: str, color: str) -> None:
    times = [(at - begin) / 60 for at, _ in series]
    axes.step(times, [count for _, count in series], where="post", label=label, color=color)  # type: ignore[attr-defined]
