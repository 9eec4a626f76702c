"""What alternating rounds give: rates, latencies and CPU of each side, and rows of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil
from _table import Row


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
    cpu_s: float  # of the side's own processes
    database_cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Things done in a second."""
        return len(self.latencies_s) / self.elapsed_s

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU for each thing done, of the database as well."""
        return (self.cpu_s + self.database_cpu_s) / len(self.latencies_s) * 1e6

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return statistics.median(self.latencies_s) * 1000

    @property
    def p95_ms(self) -> float:
        """The latency that one in twenty exceeds."""
        return statistics.quantiles(self.latencies_s, n=20)[18] * 1000


@dataclass(slots=True)
class Side:
    """All rounds of one side."""

    name: str
    rounds: list[Round] = field(default_factory=list)

    def each(self, figure: Callable[[Round], float]) -> tuple[float, ...]:
        """A figure of each round."""
        return tuple(map(figure, self.rounds))

    def __str__(self) -> str:
        rate, p50, p95, cpu = (
            statistics.median(self.each(figure))
            for figure in (_rate, lambda r: r.p50_ms, lambda r: r.p95_ms, lambda r: r.cpu_us)
        )
        return (
            f"  {self.name:<18} {rate:>8.1f}/s  p50 {p50:>7.2f} ms  p95 {p95:>7.2f} ms"
            f"  CPU {cpu:>8.0f} us each"
        )


def _rate(one: Round) -> float:
    return one.rate


def beside(
    what: str,
    sides: Sequence[Side],
    ours: str,
    *,
    per: str,
    at_least: Mapping[str, float] | None = None,
) -> list[Row]:
    """Print the medians of all sides; a row of rates for each side beside ours.

    Args:
        at_least: The targets of the rates' ratio, by the peer's name.
    """
    print(f"{what}:", *sides, sep="\n")
    by_name = {side.name: side for side in sides}
    return [
        versus(what, by_name[ours], side, per=per, at_least=(at_least or {}).get(side.name))
        for side in sides
        if side.name != ours
    ]


def versus(
    what: str,
    ours: Side,
    peer: Side,
    *,
    per: str,
    figure: Callable[[Round], float] = _rate,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """A row: a figure of our rounds divided by the peer's, and the CPU of both."""
    pairs = zip(ours.each(figure), peer.each(figure), strict=True)
    return Row(
        what=what,
        beside=peer.name,
        values=tuple(a / b for a, b in pairs),
        at_least=at_least,
        at_most=at_most,
        cpu_us=ours.each(lambda one: one.cpu_us),
        peer_cpu_us=peer.each(lambda one: one.cpu_us),
        per=per,
    )


def tree_cpu_s(pid: int) -> float:
    """CPU seconds so far of a process and of its children that run."""
    root = psutil.Process(pid)
    times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def listener(port: int) -> int:
    """The process that listens on a port of this machine.

    Raises:
        LookupError: none does.
    """
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid:
            return int(one.pid)
    raise LookupError(f"nobody listens on port {port}")
