"""The picture of a canary, as PNG: latencies, how the evidence grew, and when the verdict was reached.

Four panels: how the latencies are distributed; how large a share of requests was slower than any
latency, down to the last one; the regression with its 90 % interval as pairs came in, against the
margin; and failed requests. Drawn off-screen by matplotlib's Agg, from at most a few thousand
points a line, so that a million samples take seconds.

Colours are of Okabe and Ito's palette, which people tell apart with any kind of colour vision
(https://jfly.uni-koeln.de/color/); lines differ by their dashes as well.
"""

from __future__ import annotations

import io
import logging
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mc_contract.judgement.verdict import Look, Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# That it builds its cache of fonts, or where, is no news for whoever waits for a verdict
logging.getLogger("matplotlib").setLevel(logging.ERROR)

BLUE, VERMILION = "#0072B2", "#D55E00"
GREEN, RED, GREY = "#007A5A", "#B42318", "#6B7280"
_SIDES = (("baseline", BLUE, "-"), ("candidate", VERMILION, (0, (5, 1.6))))
_POINTS = 1500  # of a line: more than the picture has pixels for
_LEAST_BINS, _MOST_BINS = 24, 120
_P95_SHARE = 0.05
_STYLE = Path(__file__).with_name("picture.mplstyle")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is drawn.

    Attributes:
        title: The verdict with its kind.
        promote: Whether it is PROMOTE.
        reason: The verdict's reason, and who overrode it, one a line.
        looks: The regression as pairs came in, until the verdict; empty where there are no
            pairs.
        margin: How much worse the p95 may be (0.05 = 5 %).
        planned_pairs: The pairs declared before the run, or None.
        decided_at_pairs: After how many pairs the verdict was reached, or None.
        verdict: `PROMOTE` or `HOLD`.
    """

    title: str
    promote: bool
    reason: tuple[str, ...]
    base: Samples | None
    cand: Samples | None
    looks: Sequence[Look]
    margin: float
    planned_pairs: int | None
    decided_at_pairs: int | None
    verdict: str


def draw(subject: Subject) -> bytes:
    """The picture as PNG, about 1,700 pixels wide."""
    failed = any(side is not None and side.errors for side in (subject.base, subject.cand))
    heights = [3.2, 3.4, 1.5] if failed else [3.2, 3.4]
    with style.context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a glyph of a reason that the font lacks
        figure = Figure(figsize=(12, 1.35 + 1.15 * sum(heights)), dpi=144, facecolor="white")
        FigureCanvasAgg(figure)
        top = _head(figure, subject)
        grid = figure.add_gridspec(
            len(heights), 2, height_ratios=heights, hspace=0.46 if failed else 0.36, wspace=0.24,
            left=0.075, right=0.97, top=top, bottom=0.075,
        )  # fmt: skip
        if subject.base is None or subject.cand is None:
            _empty(figure.add_subplot(grid[:, :]), "no request was compared: there are no samples")
        else:
            _density(figure.add_subplot(grid[0, 0]), subject.base, subject.cand)
            _tail(figure.add_subplot(grid[0, 1]), subject.base, subject.cand)
            over_time = figure.add_subplot(grid[1, :])
            _interval(over_time, subject)
            if failed:
                below = figure.add_subplot(grid[2, :], sharex=over_time)
                _failures(below, subject.base, subject.cand)
                over_time.set_xlabel("")
        png = io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def _head(figure: Figure, subject: Subject) -> float:
    """Title and reason; gives where the panels may begin, as a share of the height."""
    height = figure.get_figheight()
    colour = GREEN if subject.promote else RED
    figure.text(
        0.03, 1 - 0.3 / height, subject.title, size=18, weight="bold", color=colour, va="top",
        parse_math=False,
    )  # fmt: skip
    lines = [part for line in subject.reason for part in textwrap.wrap(line, 130)][:6]
    figure.text(
        0.03, 1 - 0.72 / height, "\n".join(lines), size=10.5, va="top", linespacing=1.45,
        parse_math=False,
    )  # fmt: skip
    return 1 - (1.2 + 0.215 * len(lines)) / height


def _empty(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)


def _answered(side: Samples) -> NDArray[np.float64]:
    """Latencies of what was answered, in milliseconds, ascending."""
    return np.sort(side.latencies_s[~np.isnan(side.latencies_s)]) * 1000


def _density(axes: Axes, base: Samples, cand: Samples) -> None:
    axes.set_title("Latency of each side")
    both = [_answered(side) for side in (base, cand)]
    if not all(values.size for values in both):
        _empty(axes, "one side answered nothing")
        return
    # The middle 99.8 %: one answer of ten seconds must not press all others into a corner
    low = min(float(np.quantile(values, 0.001)) for values in both) / 1.05
    high = max(float(np.quantile(values, 0.999)) for values in both) * 1.05
    edges = np.geomspace(low, high, _bins(min(values.size for values in both)) + 1)
    for values, (name, colour, dashes) in zip(both, _SIDES, strict=True):
        counts, _ = np.histogram(values, edges)
        share = _smoothed(counts / values.size)
        middles = np.sqrt(edges[1:] * edges[:-1])
        p95 = float(np.quantile(values, 0.95, method="inverted_cdf"))
        axes.fill_between(middles, share, color=colour, alpha=0.16, linewidth=0)
        label = f"{name}, p95 {_ms(p95)}"
        axes.plot(middles, share, color=colour, linewidth=1.8, linestyle=dashes, label=label)
        axes.axvline(p95, color=colour, linewidth=1.4, linestyle=":")
    _latency_axis(axes, low, high)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.22)  # room for the legend
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    axes.set_ylabel("share of requests, by bin")
    _legend(axes, loc="upper right")


def _bins(n: int) -> int:
    """Fewer for few samples, or their histogram would show noise alone."""
    return int(np.clip(2.5 * n ** (1 / 3), _LEAST_BINS, _MOST_BINS))


def _smoothed(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """A light binomial smoothing, so that two histograms can be told apart where they cross."""
    return np.convolve(share, np.array([1, 4, 6, 4, 1]) / 16, mode="same")


def _tail(axes: Axes, base: Samples, cand: Samples) -> None:
    axes.set_title("The tail: share of requests that were slower")
    both = [_answered(side) for side in (base, cand)]
    if not all(values.size for values in both):
        _empty(axes, "one side answered nothing")
        return
    most = max(values.size for values in both)
    for values, (name, colour, dashes) in zip(both, _SIDES, strict=True):
        n = values.size
        ranks = np.unique(np.geomspace(1, n, min(n, _POINTS)).astype(int))[::-1]
        # `ranks` of n are at or above values[n - rank]
        axes.plot(
            values[n - ranks], ranks / n, color=colour, linewidth=1.8, linestyle=dashes, label=name
        )
        at = n - max(1, round(n * _P95_SHARE))
        axes.plot([values[at]], [_P95_SHARE], "o", color=colour, markersize=6, zorder=5)
    axes.axhline(_P95_SHARE, color=GREY, linewidth=1, linestyle=":")
    axes.set_yscale("log")
    _latency_axis(
        axes,
        min(float(np.quantile(values, 0.001)) for values in both) / 1.05,
        max(float(values[-1]) for values in both) * 1.1,
    )
    axes.set_ylim(0.7 / most, 1.3)
    ticks = [(0.5, "half"), (0.05, "5 % (p95)"), (0.01, "1 % (p99)"), (0.001, "0.1 %")]
    ticks += [(0.0001, "1 in 10,000"), (0.00001, "1 in 100,000"), (0.000001, "1 in a million")]
    shown = [(at, text) for at, text in ticks if at >= 0.7 / most]
    axes.set_yticks([at for at, _ in shown], [text for _, text in shown])
    axes.yaxis.set_minor_formatter(NullFormatter())
    _legend(axes, loc="upper right")


def _latency_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 3 else (1.0, 3.0) if decades > 1.7 else (1.0, 2.0, 5.0)
    if decades < 0.6:
        axes.set_xticks(np.round(np.geomspace(low * 1.02, high / 1.02, 5), _digits(low)))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency in ms, on a logarithmic scale")


def _digits(value: float) -> int:
    """Digits behind the point that tell apart values a few percent apart."""
    return max(0, 2 - int(np.floor(np.log10(value))))


def _interval(axes: Axes, subject: Subject) -> None:
    axes.set_title("How much worse the candidate's p95 is, as pairs came in")
    known = [
        (look.at_pairs, look.regression, look.low, look.high)
        for look in subject.looks
        if look.regression is not None and look.low is not None and look.high is not None
    ]
    seen = min((side.n for side in (subject.base, subject.cand) if side is not None), default=0)
    axes.axhspan(subject.margin, 1e6, color="#FDECE4", linewidth=0, zorder=0)
    axes.axhline(
        subject.margin, color=RED, linewidth=1.5, linestyle=(0, (6, 2)),
        label=f"margin {100 * subject.margin:+.3g} %: worse than this is not promoted",
    )  # fmt: skip
    axes.axhline(0, color=GREY, linewidth=1)
    if known:
        at, middle, low, high = (
            np.array(column, dtype=float) for column in zip(*known, strict=True)
        )
        axes.fill_between(at, low, high, color=BLUE, alpha=0.2, linewidth=0, label="90 % interval")
        axes.plot(at, middle, color=BLUE, linewidth=2, label="estimate")
        axes.plot(at, low, color=BLUE, linewidth=0.7, alpha=0.6)
        axes.plot(at, high, color=BLUE, linewidth=0.7, alpha=0.6)
        # The last look, above the line of the verdict, which mostly stands at the same pairs
        ends = [middle[-1:] - low[-1:], high[-1:] - middle[-1:]]
        axes.errorbar(
            at[-1:], middle[-1:], yerr=ends, fmt="o", color=BLUE, markersize=6, capsize=5,
            elinewidth=3, capthick=2, zorder=6,
        )  # fmt: skip
        axes.set_ylim(_span(low, high, subject.margin))
    else:
        axes.set_ylim(-2 * subject.margin, 3 * subject.margin)
        axes.text(
            0.5, 0.25, "too few answers for an interval", ha="center", color=GREY,
            transform=axes.transAxes,
        )  # fmt: skip
    right = _right(subject, seen)
    axes.set_xlim(0, right * 1.005)
    if subject.decided_at_pairs is not None:
        _mark_verdict(axes, subject, right)
    if subject.planned_pairs and seen < subject.planned_pairs:
        axes.axvspan(seen, right * 1.005, color="#F3F4F6", linewidth=0, zorder=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:+.3g} %" if value else "0 %")
    )
    axes.set_ylabel("regression of p95")
    axes.set_xlabel(_pairs_label(subject, seen))
    _legend(axes, loc="upper right", ncols=3)


def _right(subject: Subject, seen: int) -> float:
    """Up to the planned pairs, unless most of them were not sent: what was seen needs the room."""
    planned = subject.planned_pairs or 0
    return max(planned if seen >= planned / 2 else 1.15 * seen, seen, 1)


def _span(
    low: NDArray[np.float64], high: NDArray[np.float64], margin: float
) -> tuple[float, float]:
    """Limits that show the last interval and the margin; the first, wide ones may be cut."""
    bottom = min(0.0, low[-1], float(np.quantile(low, 0.25)))
    top = max(margin, high[-1], float(np.quantile(high, 0.75)))
    pad = max(top - bottom, margin)
    return bottom - 0.12 * pad, top + 0.38 * pad


def _mark_verdict(axes: Axes, subject: Subject, right: float) -> None:
    at = subject.decided_at_pairs or 0
    colour = GREEN if subject.promote else RED
    axes.axvline(at, color=colour, linewidth=1.6)
    before = at > right * 0.6
    axes.annotate(
        f"{subject.verdict} after {at:,} pairs", (at, 0.04), xycoords=("data", "axes fraction"),
        xytext=(-7 if before else 7, 0), textcoords="offset points",
        ha="right" if before else "left", va="bottom", color=colour, weight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2},
    )  # fmt: skip


def _pairs_label(subject: Subject, seen: int) -> str:
    planned = subject.planned_pairs
    if planned and seen < planned:
        return f"request pairs, in the order of time ({seen:,} of {planned:,} planned were sent)"
    return "request pairs, in the order of time"


def _failures(axes: Axes, base: Samples, cand: Samples) -> None:
    axes.set_title("Failed requests so far")
    for side, (name, colour, dashes) in zip((base, cand), _SIDES, strict=True):
        counted = np.cumsum(np.isnan(side.latencies_s))
        at = np.unique(np.linspace(1, side.n, min(side.n, _POINTS)).astype(int))
        axes.plot(
            at, counted[at - 1], color=colour, linewidth=1.8, linestyle=dashes,
            label=f"{name}: {side.errors:,} of {side.n:,}",
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_ylabel("failed")
    axes.set_xlabel("request pairs, in the order of time")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _legend(axes, loc="upper left")


def _legend(axes: Axes, **how: Any) -> None:
    axes.legend(**how, handlelength=2.6, borderaxespad=0.3)


def _ms(value: float) -> str:
    return f"{value:,.3g} ms" if value < 100 else f"{value:,.0f} ms"
