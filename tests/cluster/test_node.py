"""The container runtime under the kubelets, without a cluster: its own tests, form and vet."""

from __future__ import annotations

import subprocess

import pytest
from tests.cluster.conftest import HERE, Cluster

pytestmark = pytest.mark.cluster


def go(*args: str) -> str:
    done = subprocess.run(args, cwd=HERE, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_runtime_keeps_its_own_laws(cluster: Cluster):
    go("go", "test", "-trimpath", "./...")


def test_its_source_is_formed_and_vetted(cluster: Cluster):
    assert go("gofmt", "-l", ".") == ""
    go("go", "vet", "-trimpath", "./...")
