"""What every environment keeps to; a test module gives `environment` and imports these.

At the beginning of each, and at its end, one blue replica serves, and nothing else runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from mc_ops.environments import BASELINE, Colour, Environment, Instance, LogFilter, State
from mc_ops.environments.faults import Faults
from mc_ops.errors import CouldNotTell, Finding, UnusableInput

READY_S = 180.0
BLUE, GREEN = Colour.blue, Colour.green


def restored(environment: Environment) -> Iterator[Environment]:
    """Give it to a law, and have one blue replica alone serve afterwards."""
    yield environment
    if environment.active_colour() is GREEN:
        environment.scale(BLUE, 1)
        environment.switch(BLUE)
    environment.scale(BLUE, 1)
    environment.scale(GREEN, 0)
    environment.stop_baseline()


def names(instances: Sequence[Instance]) -> list[str]:
    """The names, in the order given."""
    return [instance.name for instance in instances]


def test_scale_makes_as_many_as_are_asked_for(environment: Environment) -> None:
    """Those that were started can serve; of both colours are told without one."""
    environment.scale(GREEN, 2)
    assert len(environment.wait_ready(GREEN, READY_S)) == 2
    assert {one.colour for one in environment.instances(GREEN)} == {GREEN}
    assert len(set(names(environment.instances()))) == 3
    environment.scale(GREEN, 1)
    assert len(environment.instances(GREEN)) == 1
    assert environment.active_colour() is BLUE


def test_scale_never_leaves_nobody_to_serve(environment: Environment) -> None:
    """What cannot be done is refused before anything is changed."""
    with pytest.raises(UnusableInput):
        environment.scale(BLUE, 0)
    with pytest.raises(UnusableInput):
        environment.scale(BLUE, 1, restart=True)
    with pytest.raises(UnusableInput):
        environment.scale(GREEN, -1)
    with pytest.raises(UnusableInput):
        environment.scale(GREEN, 1, baseline=True)
    assert len(environment.instances()) == 1


def test_a_fresh_baseline_stands_beside_a_candidate(environment: Environment) -> None:
    """It has the colour that serves, is no replica of it, and is gone when it is stopped."""
    environment.scale(GREEN, 1, restart=True, baseline=True)
    [fresh] = environment.wait_ready(BASELINE, READY_S)
    assert fresh.colour is BLUE
    assert environment.instances(BASELINE) == (fresh,)
    assert fresh not in environment.instances()
    assert environment.stop_baseline()
    assert environment.instances(BASELINE) == ()
    assert not environment.stop_baseline()


def test_switch_moves_traffic_unless_it_is_held(environment: Environment) -> None:
    """`hold` is given who is to serve; what it raises leaves everything as it was."""
    environment.scale(GREEN, 1)
    given: list[Instance] = []

    def hold(instances: Sequence[Instance]) -> None:
        given.extend(instances)
        raise Finding("not these")

    with pytest.raises(Finding, match="not these"):
        environment.switch(GREEN, hold=hold)
    assert tuple(given) == environment.instances(GREEN)
    assert environment.active_colour() is BLUE
    assert environment.switch(GREEN).changed
    assert environment.active_colour() is GREEN
    assert not environment.switch(GREEN, hold=hold).changed


def test_a_colour_that_does_not_run_gets_no_traffic(environment: Environment) -> None:
    """Nobody would answer; and nobody is waited for."""
    with pytest.raises(Finding):
        environment.switch(GREEN)
    with pytest.raises(CouldNotTell):
        environment.wait_ready(GREEN, 1.0)
    assert environment.active_colour() is BLUE


def test_faults_are_shown_and_keep_a_colour_from_serving(environment: Environment) -> None:
    """Unless they are allowed, as in a rehearsal."""
    environment.scale(GREEN, 1, faults=Faults(slow_factor=2))
    [broken] = [one for one in environment.status().processes if one.colour is GREEN]
    assert (broken.faults, broken.state) == ("slow=2", State.running)
    with pytest.raises(Finding, match="faults"):
        environment.switch(GREEN)
    assert environment.switch(GREEN, allow_faults=True).changed


def test_a_replica_tells_what_it_was_started_with(environment: Environment) -> None:
    """And one that does not run has no settings."""
    [replica] = environment.instances(BLUE)
    assert environment.settings(replica.name)["MC_REGION"]
    with pytest.raises(CouldNotTell):
        environment.settings("green-7")


def test_logs_are_of_those_that_are_named(environment: Environment) -> None:
    """A name without a log is an error, and not silence."""
    [replica] = environment.instances(BLUE)
    assert {line.name for line in environment.logs([replica.name], LogFilter(lines=5))} <= {
        replica.name
    }
    with pytest.raises(UnusableInput):
        list(environment.logs(["nobody"]))


def test_neighbours_and_catalogue_are_told(environment: Environment) -> None:
    """Where the sample agents and the SIEM listen; what a replica would begin with."""
    assert environment.neighbour_url("siem").startswith("http")
    with pytest.raises(UnusableInput):
        environment.neighbour_url("nobody")
    assert len(environment.catalogue_digest()) == 64
