"""Where files and ports are."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from mc_ops.environments import Colour, Workspace, open_environment, open_startable
from mc_ops.environments.local.layout import NEIGHBOURS, Layout, colour_of, is_replica
from mc_ops.environments.local.membership import Membership
from mc_ops.environments.workspace import Memory, recall, remember
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_json_object, write_atomically


def test_ports_follow_the_edge_port() -> None:
    """Every process has its own port, counted from the edge's."""
    layout = Layout(home=Path("/x"), edge_port=8080)
    names = ("edge", "postgres", "records-agent", "fulfilment-agent", "siem", "blue-1", "green-2")
    assert [layout.port_of(n) for n in names] == [8080, 8090, 8091, 8092, 8093, 8101, 8122]


def test_a_second_region_has_the_ports_above_and_the_first_ones_neighbours(tmp_path: Path) -> None:
    """It starts none of them; of one region, even in a folder of that name, nothing is different."""
    first = Layout(home=tmp_path, edge_port=8080)
    assert first.second() is None
    second = first.beside()
    assert second.neighbours == NEIGHBOURS
    second.prepare()
    known = Membership("local-2", "local-1", "postgresql://a", "postgresql://b", "c", 8080)
    write_atomically(second.secret("region.json"), json.dumps(asdict(known)))
    assert first.second() == second
    assert (second.neighbours, second.membership()) == ((), known)
    names = ("edge", "postgres", "blue-1", "siem", "records-agent")
    assert [second.port_of(name) for name in names] == [8160, 8170, 8181, 8093, 8091]
    env = {
        "MC_HOME": str(second.home),
        "MC_EDGE_PORT": "8080",
    }  # as it stands in a first region's shell
    assert Layout.from_env(env).edge_port == 8080
    remember(second.home, Memory(8160, {}))
    assert Layout.from_env(env) == second
    assert "postgresql" not in repr(known)
    for damage in ({"more": 1}, {"neighbours_port": "8080"}):
        write_atomically(second.secret("region.json"), json.dumps({**asdict(known), **damage}))
        with pytest.raises(CouldNotTell, match="not what a region knows"):
            second.membership()


def test_a_shared_secret_is_changed_where_it_is(tmp_path: Path) -> None:
    """To write through a link must not leave the two regions with different keys."""
    first = Layout(home=tmp_path)
    second = first.beside()
    for each in (first, second):
        each.prepare()
    write_atomically(first.secret("keyring.json"), "one")
    (second.home / "secrets" / "keyring.json").symlink_to("../../secrets/keyring.json")
    write_atomically(second.secret("keyring.json"), "two")
    assert first.secret("keyring.json").read_text() == "two"


def test_home_and_port_are_read_from_the_environment(tmp_path: Path) -> None:
    """MC_HOME defaults to .mc under the working folder, MC_EDGE_PORT to 8080."""
    assert Layout.from_env({}, tmp_path) == Layout(tmp_path.resolve() / ".mc", 8080)
    named = Layout.from_env({"MC_HOME": "/a/b", "MC_EDGE_PORT": "9000"}, tmp_path)
    assert named == Layout(Path("/a/b"), 9000)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MC_HOME", "/dev/null", "MC_HOME is /dev/null, which is no folder"),
        ("MC_EDGE_PORT", "9" * 5000, f'MC_EDGE_PORT is "{"9" * 40}", expected'),
        ("MC_EDGE_PORT", "٨٠٨٠", "MC_EDGE_PORT is"),
    ],
)
def test_a_home_or_port_that_cannot_be_is_refused(name: str, value: str, said: str) -> None:
    """By its name, before anything is read there."""
    with pytest.raises(UnusableInput, match=re.escape(said)):
        Layout.from_env({name: value})


def test_the_home_is_found_from_a_folder_below(tmp_path: Path) -> None:
    """The nearest `.mc` upwards is the platform's, as with a repository."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / ".mc").mkdir()
    assert Layout.from_env({}, below).home == tmp_path / ".mc"
    (tmp_path / "a" / ".mc").mkdir()
    assert Layout.from_env({}, below).home == tmp_path / "a" / ".mc"
    assert Layout.from_env({"MC_HOME": "mine"}, below).home == below / "mine"


def test_a_home_of_another_user_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `.mc` that somebody made in a shared folder above is passed over."""
    below = tmp_path / "a"
    below.mkdir()
    (tmp_path / ".mc").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / ".mc").stat().st_uid + 1)
    assert Layout.from_env({}, below).home == below / ".mc"


def test_the_port_of_the_last_start_is_remembered(tmp_path: Path) -> None:
    """Without MC_EDGE_PORT it is the remembered one; a set one wins."""
    env = {"MC_HOME": str(tmp_path)}
    assert recall(tmp_path) == Memory()
    remember(tmp_path, Memory(19080, {Colour.blue: 3}))
    assert recall(tmp_path) == Memory(19080, {Colour.blue: 3})
    assert Layout.from_env(env).edge_port == 19080
    assert Layout.from_env({**env, "MC_EDGE_PORT": "9000"}).edge_port == 9000
    assert tmp_path / "platform.json" in Layout(home=tmp_path).own_entries


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"edge_port": 1, "replicas": {"red": 1}}'])
def test_a_damaged_memory_may_be_removed(text: str, tmp_path: Path) -> None:
    """It names the file, and says that no more than a port and numbers are lost."""
    (tmp_path / "platform.json").write_text(text)
    with pytest.raises(CouldNotTell, match=r"platform\.json") as caught:
        recall(tmp_path)
    assert caught.value.hint.startswith("remove it")


def test_a_damaged_file_gets_its_callers_hint(tmp_path: Path) -> None:
    """Only the caller knows what the loss of a file would mean; purging is never the default."""
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CouldNotTell) as caught:
        read_json_object(tmp_path / "a.json", "look at it")
    assert caught.value.hint == "look at it"
    with pytest.raises(CouldNotTell) as caught:
        read_json_object(tmp_path / "a.json")
    assert "purge" not in caught.value.hint
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(CouldNotTell, match="cannot be read"):
        read_json_object(tmp_path / "deep.json")


def test_a_file_that_may_not_be_read_is_not_to_be_removed(tmp_path: Path) -> None:
    """It is whole, and may be the only copy of a key; the reason has no Python in it."""
    for path in (tmp_path, Path("/dev/null/platform.json")):
        with pytest.raises(CouldNotTell) as caught:
            read_json_object(path, "remove it")
        assert "remove" not in caught.value.hint
        assert "Errno" not in caught.value.message


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
    assert colour_of("baseline-1") is None


def test_the_fresh_baseline_has_ports_of_its_own() -> None:
    """Its replicas are workbenches, beside those of both colours."""
    layout = Layout(home=Path("/x"), edge_port=8080)
    names = [f"{group}-{n}" for group in ("blue", "green", "baseline") for n in (1, 19)]
    assert [layout.port_of(name) - 8080 for name in names] == [21, 39, 41, 59, 61, 79]
    assert all(is_replica(name) for name in names)
    assert not any(is_replica(name) for name in ("records-agent", "baseline", "siem"))


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


def test_what_cannot_be_started_here_is_refused_clearly() -> None:
    """A cluster is given manifests, and says so; a misspelt environment lists the known."""
    with pytest.raises(UnusableInput, match="neither starts") as caught:
        open_startable("kubernetes")
    assert "kubectl apply -k" in caught.value.hint
    with pytest.raises(UnusableInput, match='unknown environment "locl"') as caught:
        open_environment("locl")
    assert caught.value.hint == "known: local, kubernetes"


def test_a_platform_elsewhere_is_named_with_its_home(tmp_path: Path) -> None:
    """`MC_URL` counts for the folder that is named with it, and never for a laptop's own platform."""
    env = {"MC_HOME": str(tmp_path), "MC_URL": "https://mc.example.com/"}
    assert Workspace.from_env(env).url == "https://mc.example.com"
    assert Layout.from_env(env).url == "http://127.0.0.1:8080"
    with pytest.raises(UnusableInput, match="MC_HOME is not"):
        Workspace.from_env({"MC_URL": "https://mc.example.com"}, tmp_path)
    with pytest.raises(UnusableInput, match="must have no user"):
        Workspace.from_env({**env, "MC_URL": "https://me:secret@mc.example.com"})
