"""The token bucket, by laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.errors import RateLimited
from mc_platform.receive.limits import RateLimiter


@given(
    rate=st.floats(0.5, 100),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 2), max_size=200),
)
def test_never_more_than_burst_plus_rate_times_time(rate, burst, gaps):
    """In any window the admitted are at most the burst and what the rate refills."""
    now = [0.0]
    limiter = RateLimiter(rate_per_s=rate, burst=burst, monotonic=lambda: now[0])
    admitted = 0
    for gap in gaps:
        now[0] += gap
        try:
            limiter.admit("T")
        except RateLimited as error:
            assert error.retry_after_s > 0
        else:
            admitted += 1
    assert admitted <= burst + rate * now[0] + 1e-6


def test_a_client_that_is_early_by_a_hair_is_told_to_wait():
    """No refusal says that the token is there already."""
    now = [0.0]
    limiter = RateLimiter(rate_per_s=1, burst=1, monotonic=lambda: now[0])
    limiter.admit("T")
    now[0] = 0.9999
    with pytest.raises(RateLimited) as refused:
        limiter.admit("T")
    assert refused.value.retry_after_s == 0.001
    now[0] += refused.value.retry_after_s
    limiter.admit("T")


def test_tenants_do_not_share_a_bucket():
    """One tenant's flood leaves the other's tokens."""
    limiter = RateLimiter(rate_per_s=1, burst=1, monotonic=lambda: 0.0)
    limiter.admit("A")
    with pytest.raises(RateLimited, match="over 1 requests/s"):
        limiter.admit("A")
    limiter.admit("B")
