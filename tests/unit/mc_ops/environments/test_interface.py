"""The interface is true: what implements it has its names and signatures, and callers no more."""

from __future__ import annotations

import inspect

import pytest
from tests.recording_environment import RecordingEnvironment

from mc_ops.environments import Environment, Startable
from mc_ops.environments.local.environment import LocalEnvironment


def public(kind: type) -> dict[str, object]:
    """The public members of a class, by name."""
    found = {name: member for name, member in inspect.getmembers(kind) if name[0] != "_"}
    return found | {name: None for name in getattr(kind, "__annotations__", {}) if name[0] != "_"}


@pytest.mark.parametrize(
    ("kind", "interface"), [(LocalEnvironment, Startable), (RecordingEnvironment, Environment)]
)
def test_an_implementation_is_the_interface_and_nothing_more(kind: type, interface: type) -> None:
    """A second public name would be used by a caller, and missing on a cluster."""
    wanted = public(interface) | public(Environment)
    assert set(public(kind)) == set(wanted)
    for name, member in wanted.items():
        if inspect.isfunction(member):
            parameters = inspect.signature(getattr(kind, name)).parameters
            assert parameters == inspect.signature(member).parameters, name
