"""Simulated canaries whose truth is known: both sides' latencies, and a change of the candidate.

Times are in units of the pace, 50 pairs a second. Nothing here was fitted to the judge's results;
each series is what its docstring says, and the figures in it are plain choices. Both sides of a
series come from the same distribution before the change, independently of each other except for
what a pair shares: the load at its moment and, where said, its question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Sides = tuple[NDArray[np.float64], NDArray[np.float64]]

PACE = 50.0  # pairs a second
_SECOND = int(PACE)
_BODY_S = 0.02  # the scale of all latencies
_TYPICAL_SPREAD = 0.4  # sd of the log latency of one kind of request


def heavy_tailed(rng: np.random.Generator, n: int) -> Sides:
    """Lognormal, and one request in ten stretched by a Pareto factor (tail index 2.5)."""

    def side() -> NDArray[np.float64]:
        latency = rng.lognormal(0, _TYPICAL_SPREAD, n)
        stretched = rng.random(n) < 0.1
        latency[stretched] *= 1 + rng.pareto(2.5, int(stretched.sum()))
        return latency

    return side(), side()


def bimodal(rng: np.random.Generator, n: int) -> Sides:
    """One question in ten is of a kind that takes four times as long; a pair asks the same one."""
    kind = np.where(rng.random(n) < 0.1, 4.0, 1.0)
    return kind * rng.lognormal(0, 0.3, n), kind * rng.lognormal(0, 0.3, n)


def autocorrelated(rng: np.random.Generator, n: int) -> Sides:
    """Bursts of load that both sides share, and a memory of each side's own.

    Bursts take 3 s and a tenth of the time, 2.5 times slower; the memory is an AR(1), 0.9 from
    request to request, sd 0.15.
    """
    load = np.where(_spells(rng, n, share=0.1, length=3 * _SECOND), 2.5, 1.0)

    def side() -> NDArray[np.float64]:
        return load * np.exp(_ar1(rng, n, rho=0.9, sd=0.15)) * rng.lognormal(0, 0.35, n)

    return side(), side()


def drifting(rng: np.random.Generator, n: int) -> Sides:
    """The load drifts: a wave (amplitude 0.35 of the log) and a random walk, shared."""
    time = np.arange(n) / n
    wave = 0.35 * np.sin(2 * np.pi * (time * rng.uniform(0.5, 2) + rng.random()))
    load = np.exp(wave + 0.2 * np.cumsum(rng.normal(0, 1 / np.sqrt(n), n)))
    return load * rng.lognormal(0, _TYPICAL_SPREAD, n), load * rng.lognormal(0, _TYPICAL_SPREAD, n)


def mixed(rng: np.random.Generator, n: int) -> Sides:
    """Bursts and a wave of load that both share; of each side's own a memory and 3 % slow ones."""
    wave = 0.2 * np.sin(2 * np.pi * (np.arange(n) / n + rng.random()))
    load = np.exp(wave) * np.where(_spells(rng, n, share=0.05, length=3 * _SECOND), 2.0, 1.0)

    def side() -> NDArray[np.float64]:
        latency = rng.lognormal(0, _TYPICAL_SPREAD, n)
        latency[rng.random(n) < 0.03] *= 3
        return load * np.exp(_ar1(rng, n, rho=0.9, sd=0.1)) * latency

    return side(), side()


def noisy_neighbour(rng: np.random.Generator, n: int, instances: int = 4) -> Sides:
    """Each instance is 1.5 times slower in spells of 10 s, a twentieth of the time; four a side."""

    def side() -> NDArray[np.float64]:
        latency = rng.lognormal(0, _TYPICAL_SPREAD, n)
        turn = np.arange(n) % instances
        for instance in range(instances):
            spell = _spells(rng, n, share=0.05, length=10 * _SECOND)
            latency[(turn == instance) & spell] *= 1.5
        return latency

    return side(), side()


def noisy_neighbour_alone(rng: np.random.Generator, n: int) -> Sides:
    """The same with one instance a side, where no figure tells a neighbour from a fault."""
    return noisy_neighbour(rng, n, instances=1)


def bimodal_unshared(rng: np.random.Generator, n: int) -> Sides:
    """8 % of requests take four times as long, on each side others: a pair cancels nothing."""

    def side() -> NDArray[np.float64]:
        slow = rng.random(n) < 0.08
        return np.where(slow, 4 * rng.lognormal(0, 0.35, n), rng.lognormal(0, 0.25, n))

    return side(), side()


def gap(rng: np.random.Generator, n: int) -> Sides:
    """Just 5 % are four times as slow, and nothing lies between: where the p95 is, is chance."""

    def side() -> NDArray[np.float64]:
        slow = rng.random(n) < 0.05
        return np.where(slow, 4 * rng.lognormal(0, 0.15, n), rng.lognormal(0, 0.15, n))

    return side(), side()


Series = Callable[[np.random.Generator, int], "Sides"]

SERIES: dict[str, Series] = {
    "heavy-tailed": heavy_tailed,
    "bimodal": bimodal,
    "autocorrelated": autocorrelated,
    "drifting": drifting,
    "mixed": mixed,
    "noisy-neighbour": noisy_neighbour,
}
LIMITS: dict[str, Series] = {
    "noisy-neighbour-alone": noisy_neighbour_alone,
    "bimodal-unshared": bimodal_unshared,
    "gap": gap,
}
INSTANCES = {"noisy-neighbour": 4}  # a side; one in all others


def scaled(latency: NDArray[np.float64], change: float) -> NDArray[np.float64]:
    """Every answer takes `change` longer (0.1 = 10 %), and so does the p95."""
    return latency * (1 + change)


def tail_only(latency: NDArray[np.float64], change: float) -> NDArray[np.float64]:
    """Only the slowest tenth takes `change` longer, and so does the p95."""
    return np.where(latency > np.quantile(latency, 0.9), latency * (1 + change), latency)


def now_and_then(latency: NDArray[np.float64], change: float) -> NDArray[np.float64]:
    """Three spells, 15 % of the time, are so much slower that the p95 of all is `change` higher."""
    n = latency.size
    spell = np.zeros(n, dtype=bool)
    for start in (0.2, 0.5, 0.8):
        spell[int(start * n) : int((start + 0.05) * n)] = True
    wanted = (1 + change) * float(np.quantile(latency, 0.95))
    low, high = 1.0, 10.0
    for _ in range(20):
        factor = (low + high) / 2
        reached = float(np.quantile(np.where(spell, latency * factor, latency), 0.95))
        low, high = (factor, high) if reached < wanted else (low, factor)
    return np.where(spell, latency * high, latency)


def run(
    series: Series,
    pairs: int,
    rng: np.random.Generator,
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> Sides:
    """One canary of `pairs` pairs: seconds in time order, as the sample files have them."""
    base, cand = (_BODY_S * side for side in series(rng, pairs))
    return np.round(base, 6), np.round(change(cand), 6)


def _ar1(rng: np.random.Generator, n: int, *, rho: float, sd: float) -> NDArray[np.float64]:
    """A stationary autoregression of order 1, by short pieces so that no power underflows."""
    shocks = rng.normal(0, sd * np.sqrt(1 - rho**2), n)
    out, last, piece = np.empty(n), rng.normal(0, sd), 200
    powers = rho ** np.arange(1, piece + 1)
    for at in range(0, n, piece):
        some = shocks[at : at + piece]
        decay = powers[: some.size]
        out[at : at + piece] = decay * (last + np.cumsum(some / decay))
        last = out[min(at + piece, n) - 1]
    return out


def _spells(rng: np.random.Generator, n: int, *, share: float, length: float) -> NDArray[np.bool_]:
    """Which of n requests lie in a spell; spells last `length` on average, `share` of the time."""
    pause = length * (1 - share) / share
    count = int(2 * n / (length + pause)) + 20
    within, between = rng.geometric(1 / length, count), rng.geometric(1 / pause, count)
    first, second = (within, between) if rng.random() < share else (between, within)
    lengths = np.column_stack((first, second)).ravel()
    inside = np.tile([first is within, second is within], count)
    return np.repeat(inside, lengths)[:n]
