"""What alternating rounds give: rates, latencies, CPU, and ratios with their spread."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any


class CheckFailed(Exception):
    """What was counted afterwards is not what was acknowledged."""


def require(what: str, got: object, expected: object) -> None:
    """Raise `CheckFailed` unless both are equal."""
    if got != expected:
        raise CheckFailed(f"{what}: got {got}, expected {expected}")


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one side; latencies in seconds, one for each thing done."""

    latencies_s: list[float]
    elapsed_s: float
    cpu_s: float  # of the side's own process
    database_cpu_s: float

    @property
    def rate(self) -> float:
        """Things done in a second."""
        return len(self.latencies_s) / self.elapsed_s


@dataclass(slots=True)
class Side:
    """All rounds of one side."""

    name: str
    rounds: list[Round] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Things done in all rounds."""
        return sum(len(one.latencies_s) for one in self.rounds)

    @property
    def rate(self) -> float:
        """Things done in a second, over all rounds."""
        return self.done / sum(one.elapsed_s for one in self.rounds)

    def figures(self) -> dict[str, Any]:
        """What is printed and written, with its unit in each name."""
        latencies = [latency for one in self.rounds for latency in one.latencies_s]
        return {
            "done": self.done,
            "per_s": self.rate,
            "p50_ms": statistics.median(latencies) * 1000,
            "p95_ms": statistics.quantiles(latencies, n=20)[18] * 1000,
            "cpu_ms_each": sum(one.cpu_s for one in self.rounds) / self.done * 1000,
            "database_cpu_ms_each": sum(one.database_cpu_s for one in self.rounds)
            / self.done
            * 1000,
            "per_s_by_round": [one.rate for one in self.rounds],
        }


def compare(title: str, sides: list[Side], ours: str) -> dict[str, Any]:
    """Print all sides and the ratios of ours to each other one; return the same as JSON."""
    print(title)
    figures = {side.name: side.figures() for side in sides}
    for name, found in figures.items():
        print(
            f"  {name:<17} {found['done']:>6} done  {found['per_s']:>7.1f}/s"
            f"  p50 {found['p50_ms']:>7.2f} ms  p95 {found['p95_ms']:>7.2f} ms"
            f"  CPU each: {found['cpu_ms_each']:>6.2f} ms"
            f" + {found['database_cpu_ms_each']:.2f} ms in the database"
        )
    ratios = {name: _ratio(figures[ours], found) for name, found in figures.items() if name != ours}
    for name, ratio in ratios.items():
        low, high = ratio["throughput_range"]
        print(
            f"  ratio {ours} / {name}: throughput {ratio['throughput']:.2f}"
            f" (rounds {low:.2f} to {high:.2f}), p95 {ratio['p95']:.2f}, CPU {ratio['cpu']:.2f}"
        )
    return {"title": title, "sides": figures, "ratios": ratios}


def _ratio(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    each = [a / b for a, b in zip(ours["per_s_by_round"], peer["per_s_by_round"], strict=True)]
    return {
        "throughput": ours["per_s"] / peer["per_s"],
        "throughput_range": [min(each), max(each)],
        "p95": ours["p95_ms"] / peer["p95_ms"],
        "cpu": ours["cpu_ms_each"] / peer["cpu_ms_each"],
    }
