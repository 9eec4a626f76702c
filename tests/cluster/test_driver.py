"""The cluster itself: what it says where it cannot run, and that it leaves nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.cluster.conftest import CLUSTER, NOT_SETTLED, STATE, Cluster, until

TOOLS = ("bash", "id", "cat", "sha256sum", "cut", "dirname", "grep", "env")


def test_it_says_what_a_machine_lacks(tmp_path: Path):
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(shutil.which(tool) or "/bin/false")
    bare = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([CLUSTER, "needs"], env=bare, check=False, capture_output=True, text=True)
    assert done.returncode == NOT_SETTLED
    assert "a test cluster needs what is missing here: " in done.stderr
    for missing in (
        "the command nft",
        "the command unshare",
        "Go 1.26 or newer, to build Kubernetes",
    ):
        assert missing in done.stderr


def test_an_unknown_command_is_answered_with_the_list():
    done = subprocess.run([CLUSTER, "destroy"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "needs       say what this machine lacks" in done.stderr


@pytest.mark.cluster
def test_a_second_start_is_refused(cluster: Cluster):
    done = subprocess.run([CLUSTER, "up"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "it runs already" in done.stderr
    assert cluster.kubectl("get", "--raw", "/readyz").stdout == "ok"


@pytest.mark.cluster
def test_what_a_killed_cluster_leaves_is_swept(cluster: Cluster):
    if not cluster.ours:
        pytest.skip("a cluster that somebody started is not killed")
    try:
        os.kill(int((STATE / "maker.pid").read_text()), signal.SIGKILL)
        until(lambda: "mc-cluster/bin" not in said("ps", "-eo", "args"), 20)
        assert "mc-cluster" not in Path("/proc/self/mountinfo").read_text()
        cluster.driver("down")
        for left in ("/sys/fs/cgroup/mc-cluster", "/sys/fs/cgroup/unified/mc-cluster", STATE):
            assert not Path(left).exists()
        for asked in (
            ("ip", "-d", "link"),
            ("ip", "route"),
            ("ip", "netns"),
            ("nft", "list", "tables"),
        ):
            assert not re.search(r"mc-cluster|10\.88\.|policy-node", said(*asked)), asked
    finally:  # for the stories that come after
        cluster.driver("up")


def said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
