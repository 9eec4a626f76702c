"""The manifests of deploy/kubernetes as `kubectl apply -k` would send them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("blue", "green", "region", "peer", "local-test", "cloudnative-pg")


def _renderer():
    # The last is where `make cluster` puts its own
    places = os.pathsep.join([os.environ.get("PATH", ""), "/var/tmp/mc-cluster/bin"])
    for name, verb in (("kubectl", "kustomize"), ("kustomize", "build")):
        if found := shutil.which(name, path=places):
            return [found, verb]
    return None


needs_kustomize = pytest.mark.skipif(
    _renderer() is None, reason="neither kubectl nor kustomize is installed"
)


@functools.cache
def text(folder: str) -> str:
    """The text of a kustomization below deploy/kubernetes."""
    answer = subprocess.run(
        [*_renderer(), MANIFESTS / folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@functools.cache
def objects(folder: str) -> list[dict]:
    """Its objects; whoever changes one takes a copy."""
    return [one for one in yaml.load_all(text(folder), yaml.CSafeLoader) if one]


def named(folder: str, kind: str, name: str) -> dict:
    """One of them."""
    [found] = [
        one for one in objects(folder) if one["kind"] == kind and one["metadata"]["name"] == name
    ]
    return found
