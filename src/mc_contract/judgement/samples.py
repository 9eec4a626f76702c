"""Sample files: the latencies that one side of a canary run gave, in time order.

One line a request: the latency in seconds, or the word `error` for a request that failed.
Parsing is strict, since a verdict is only worth what its samples are: a line that is not
exactly that is refused by its number. Nothing here reads files; callers bring the bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mc_contract.errors import McError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

# No request is answered faster; zeros are no measurement. A hair below the microsecond, since
# 0.000001 is read as the double next to it.
SHORTEST_LATENCY_S = 1e-6 * (1 - 1e-9)
# A canary gives a request 5 s, and may be late with it. What is over a minute is a file in another unit,
# such as milliseconds, not a slow request.
LONGEST_LATENCY_S = 60.0
ERROR_LINE = b"error"
_NUMBER_BYTES = b"0123456789.eE+-\n"
_SHOWN_BYTES = 24
_LONGEST_LINE = 64  # a number in any notation is shorter
MOST_SAMPLES = 20_000_000  # twice the longest run; each takes some 100 bytes to read


class SamplesUnusable(McError):
    """The samples, or the parameters to judge them by, cannot be used."""

    code = "samples-unusable"


@dataclass(frozen=True, slots=True)
class Samples:
    """One side's requests in time order: latency in seconds, NaN where the request failed."""

    latencies_s: NDArray[np.float64]

    @property
    def n(self) -> int:
        """How many requests were sent."""
        return int(self.latencies_s.size)

    @property
    def errors(self) -> int:
        """How many of them failed."""
        return int(np.isnan(self.latencies_s).sum())


def samples_of(latencies_s: Iterable[float | None]) -> Samples:
    """Make samples of numbers (seconds), `None` for a failed request.

    Raises:
        SamplesUnusable: When empty, or a latency is under a microsecond, not finite or over a minute.
    """
    values = np.array(
        [math.nan if value is None else _checked(value, at) for at, value in enumerate(latencies_s)]
    )
    if values.size == 0:
        raise SamplesUnusable("no samples", hint="one latency in seconds a line, or `error`")
    return Samples(values)


def parse_samples(data: bytes) -> Samples:
    """Read a sample file's bytes.

    Args:
        data: One latency in seconds a line, in time order; a failed request is a line `error`.

    Raises:
        SamplesUnusable: When empty, over `MOST_SAMPLES`, or a line is anything else (NaN, infinite,
            under a microsecond, blank, over a minute); the message names the first such line.
    """
    text = data.replace(b"\r\n", b"\n").removesuffix(b"\n")
    if not text:
        raise SamplesUnusable("no samples", hint="one latency in seconds a line, or `error`")
    count = text.count(b"\n") + 1
    if count > MOST_SAMPLES:
        raise SamplesUnusable(f"{count} samples, at most {MOST_SAMPLES} are read")
    lines = text.split(b"\n")
    values: NDArray[np.float64] | None = None
    if max(map(len, lines)) <= _LONGEST_LINE:
        table = np.array(lines)
        failed = table == ERROR_LINE
        table[failed] = b"1"
        try:
            # The conversion alone would take "nan", " 1" and "1_000": only these bytes make a
            # number here. The `e` of an `error` is one of them, the rest of it must be all else.
            if text.translate(None, _NUMBER_BYTES) != ERROR_LINE[1:] * int(failed.sum()):
                raise ValueError
            values = table.astype(np.float64)
        except ValueError:
            values = None
    if (
        values is None
        or not (values >= SHORTEST_LATENCY_S).all()
        or not (values <= LONGEST_LATENCY_S).all()
    ):
        raise _first_bad_line(lines)
    values[failed] = np.nan
    return Samples(values)


def format_samples(samples: Samples) -> bytes:
    """Write samples as a file's bytes; microseconds are kept (`parse_samples` reads them back)."""
    lines = [
        "error" if math.isnan(value) else f"{value:.6f}" for value in samples.latencies_s.tolist()
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _first_bad_line(lines: list[bytes]) -> SamplesUnusable:
    for at, line in enumerate(lines):
        if line == ERROR_LINE:
            continue
        try:
            if len(line) > _LONGEST_LINE or line.translate(None, _NUMBER_BYTES):
                raise ValueError
            _checked(float(line), at)
        except ValueError:
            shown = line[:_SHOWN_BYTES].decode("ascii", "backslashreplace")
            return SamplesUnusable(
                f'line {at + 1}: expected a latency in seconds or `error`, got "{shown}"',
                hint="one request a line, in time order",
            )
        except SamplesUnusable as error:
            return error
    return SamplesUnusable("samples cannot be read")  # unreachable: a line was bad


def _checked(value: float, at: int) -> float:
    """The value, or SamplesUnusable naming its line (`at` counts from 0)."""
    if SHORTEST_LATENCY_S <= value <= LONGEST_LATENCY_S:
        return value
    raise SamplesUnusable(
        f"line {at + 1}: a latency must be between 0.000001 and {LONGEST_LATENCY_S:.0f} seconds, "
        f"got {value}",
        hint="latencies are in seconds: divide those in milliseconds by 1000; a failed request is a "
        "line `error`",
    )
