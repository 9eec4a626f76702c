"""Fault switches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_ops.environments import Colour
from mc_ops.environments.faults import Faults, read_fault, read_faults, shown, told_by
from mc_ops.errors import UnusableInput


def test_options_win_over_the_environment() -> None:
    """MC_GREEN_FAULT gives defaults, --fault overrides them one by one."""
    faults = read_faults(["green:slow=3"], {"MC_GREEN_FAULT": "slow=2, errors=0.05"})
    assert faults == {Colour.green: Faults(slow_factor=3, error_ratio=0.05)}
    assert faults[Colour.green].settings() == {
        "MC_FAULTS_ALLOWED": "1",
        "MC_FAULT_SLOW_FACTOR": "3",
        "MC_FAULT_ERROR_RATIO": "0.05",
    }


def test_no_faults_allow_no_faults() -> None:
    """Without a fault nothing is passed, not even the permission."""
    assert read_faults([], {}) == {}
    assert Faults().settings() == {}


@pytest.mark.parametrize(
    "text",
    ["slow=2", "red:slow=2", "green:slow", "green:slow=x", "green:slow=0.5", "green:slow=nan",
     "green:errors=1.1", "green:errors=-0.1", "green:colour=1", "green:slow=1e9"],
)  # fmt: skip
def test_an_unusable_fault_is_refused(text: str) -> None:
    """A fault that would silently do nothing is refused, with how to write one."""
    with pytest.raises(UnusableInput, match="fault") as caught:
        read_faults([text], {})
    assert "green:slow=2" in caught.value.hint


@given(
    st.one_of(st.none(), st.integers(1, 100).map(float)),
    st.one_of(st.none(), st.integers(0, 100).map(lambda n: n / 100)),
)
def test_recorded_settings_mean_the_same_faults(slow: float | None, errors: float | None) -> None:
    """Faults read back from a process's record are those it was started with."""
    faults = Faults(slow, errors)
    assert Faults.from_settings(faults.settings()) == faults
    assert bool(shown(faults.settings())) == bool(faults.settings())


def test_faults_have_the_same_words_wherever_they_are_told() -> None:
    """From a record and from /health as a person wrote them; a fault of a later version by its name."""
    faults = read_fault("slow=2, errors=0.05")
    assert shown(faults.settings()) == "slow=2,errors=0.05"
    health = {"slow_factor": 2, "error_ratio": 0.05, "dropped": "all"}
    assert told_by(health) == "slow=2,errors=0.05,dropped=all"
    assert read_fault("none") == Faults()
