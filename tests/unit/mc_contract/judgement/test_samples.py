"""Sample files are read strictly, and what is written is read back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.judgement.verdict import SamplesUnusable, format_samples, parse_samples, samples_of


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"0.1\nnan\n", 2),
        (b"0.1\n-0.2\n", 2),
        (b"-0\n", 1),
        (b"0.1\ninf\n0.2\n", 2),
        (b"0.1\n1e999\n", 2),
        (b"0.1\n\n0.2\n", 2),
        (b"0.1\n0.2\n\n", 3),
        (b"0.1 \n", 1),
        (b"1_000\n", 1),
        (b"0.1\nERROR\n", 2),
        (b"error\nerrors\n", 2),
        (b"errorerror\n", 1),
        (b"0.1,0.2\n", 1),
        (b"\xef\xbb\xbf0.1\n", 1),
        (b"0.1\n\x00\n", 2),
        (b"0.1\n1.2.3\n", 2),
        (b"0.1\n60.1\n", 2),
        (b"31.5\n152.0\n94.25\n", 2),  # a file in milliseconds
        (b"0x10\n", 1),
    ],
)
def test_parse_bad_line_refused_by_number(data: bytes, line: int) -> None:
    """A line that is neither a latency nor `error` is refused, and its number told."""
    with pytest.raises(SamplesUnusable, match=rf"^line {line}: "):
        parse_samples(data)


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n"])
def test_parse_empty_refused(data: bytes) -> None:
    """No samples are no input."""
    with pytest.raises(SamplesUnusable):
        parse_samples(data)


def test_parse_reads_latencies_and_errors() -> None:
    """Numbers, `error` lines and either line ending are read; a missing last newline is fine."""
    samples = parse_samples(b"0.1\r\nerror\n2e-3\n1")
    assert (samples.n, samples.errors) == (4, 1)
    np.testing.assert_array_equal(samples.latencies_s, [0.1, math.nan, 0.002, 1.0])


@given(st.lists(st.none() | st.integers(1, 60_000_000).map(lambda us: us / 1e6), min_size=1))
def test_format_parse_round_trip(values: list[float | None]) -> None:
    """What is written with microseconds is read back the same."""
    samples = samples_of(values)
    again = parse_samples(format_samples(samples))
    np.testing.assert_array_equal(samples.latencies_s, again.latencies_s)


@given(st.binary(max_size=60))
def test_parse_any_bytes_reads_or_refuses(data: bytes) -> None:
    """Whatever the bytes, the result is samples of one value a line, or SamplesUnusable."""
    try:
        samples = parse_samples(data)
    except SamplesUnusable:
        return
    answered = samples.latencies_s[~np.isnan(samples.latencies_s)]
    assert (answered > 0).all()
    assert np.isfinite(answered).all()
    assert samples.n == data.replace(b"\r\n", b"\n").removesuffix(b"\n").count(b"\n") + 1


def test_parse_too_many_samples_refused_before_they_are_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A quarter of a gigabyte of the shortest lines would take many gigabytes to read."""
    monkeypatch.setattr("mc_contract.judgement.samples.MOST_SAMPLES", 3)
    assert parse_samples(b"1\n1\n1\n").n == 3
    with pytest.raises(SamplesUnusable, match="4 samples"):
        parse_samples(b"1\n1\n1\n1\n")
