"""Where files and ports are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mc_ops.environments import Colour, open_environment
from mc_ops.environments.local.layout import Layout, colour_of, write_atomically
from mc_ops.errors import CouldNotTell, UnusableInput


def test_ports_follow_the_edge_port() -> None:
    """Every process has its own port, counted from the edge's."""
    layout = Layout(home=Path("/x"), edge_port=8080)
    names = ("edge", "postgres", "records-agent", "fulfilment-agent", "siem", "blue-1", "green-2")
    assert [layout.port_of(n) for n in names] == [8080, 8090, 8091, 8092, 8093, 8101, 8122]


def test_home_and_port_are_read_from_the_environment(tmp_path: Path) -> None:
    """MC_HOME defaults to .mc under the working folder, MC_EDGE_PORT to 8080."""
    assert Layout.from_env({}, tmp_path) == Layout(tmp_path.resolve() / ".mc", 8080)
    named = Layout.from_env({"MC_HOME": "/a/b", "MC_EDGE_PORT": "9000"}, tmp_path)
    assert named == Layout(Path("/a/b"), 9000)


@pytest.mark.parametrize("text", ["http", "0", "80", "65500", "-1", "²"])
def test_an_unusable_edge_port_is_named(text: str, tmp_path: Path) -> None:
    """A port that is no port, or leaves no room above it, is refused with the value got."""
    with pytest.raises(UnusableInput, match=f'MC_EDGE_PORT is "{text}"'):
        Layout.from_env({"MC_EDGE_PORT": text}, tmp_path)


@pytest.mark.parametrize("name", ["nginx", "blue-0", "blue-20", "red-1", "blue-x", "blue"])
def test_an_unknown_process_has_no_port(name: str) -> None:
    """Only processes that can exist have ports."""
    with pytest.raises(UnusableInput, match="unknown process"):
        Layout(home=Path("/x")).port_of(name)


def test_colour_of_reads_replica_names_only() -> None:
    """A replica has a colour; other processes have none."""
    assert colour_of("green-12") is Colour.green
    assert colour_of("records-agent") is None


def test_secrets_folder_is_private(layout: Layout) -> None:
    """Whatever the mode of the home, its secrets are for one user only."""
    assert stat.S_IMODE((layout.home / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE(layout.home.stat().st_mode) in {0o700, 0o711}


def test_control_socket_of_a_long_home_is_short_and_private(tmp_path: Path) -> None:
    """A home deeper than a unix socket's path may be gets a private temp folder instead."""
    layout = Layout(home=tmp_path / ("d" * 60) / ("e" * 60))
    path = layout.control_socket()
    assert len(os.fsencode(path)) <= 100
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.chmod(0o755)
    with pytest.raises(CouldNotTell, match="not a private folder"):
        layout.control_socket()
    path.parent.rmdir()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """An atomic write that fails leaves the old content and no litter."""
    path = tmp_path / "state.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_kubernetes_is_refused_clearly() -> None:
    """An environment that does not exist yet says so; a misspelt one lists the known."""
    with pytest.raises(UnusableInput, match="arrives in a later release"):
        open_environment("kubernetes")
    with pytest.raises(UnusableInput, match='unknown environment "locl"') as caught:
        open_environment("locl")
    assert caught.value.hint == "known: local"
