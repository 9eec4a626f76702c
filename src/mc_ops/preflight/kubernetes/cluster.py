"""A cluster as `kubectl` sees it: whoever may run it may run these checks, with the same rights."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mc_contract.numbers import counted
from mc_ops.errors import CouldNotTell
from mc_ops.preflight.kubernetes.findings import Finding, results
from mc_ops.preflight.kubernetes.manifests import Object, objects_of
from mc_ops.preflight.kubernetes.workloads import Pod
from mc_ops.preflight.result import CheckResult, unknown

_TIMEOUT_S = 60
_PATIENCE = "--request-timeout=20s"
_VIOLATES = "violates PodSecurity"
_MADE_OF_TEMPLATES = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
# It asks for something, or a quota would refuse it where Pod Security did not
_BAD_POD = {
    "containers": [
        {
            "name": "bad",
            "image": "example.com/bad:1",
            "securityContext": {"privileged": True},
            "resources": {"limits": {"cpu": "10m", "memory": "16Mi", "ephemeral-storage": "16Mi"}},
        }
    ]
}


@dataclass(frozen=True, slots=True)
class Answer:
    """How a `kubectl` ended."""

    code: int
    out: str
    error: str

    @property
    def said(self) -> str:
        """Its last words, in one line."""
        lines = dict.fromkeys(line.strip() for line in self.error.splitlines())  # each once
        return " ".join(filter(None, lines)) or f"exit {self.code}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One namespace of the cluster that kubectl's context names.

    Attributes:
        namespace: The context's own where none is given.
    """

    namespace: str

    @classmethod
    def of_context(cls, namespace: str | None) -> Cluster:
        """The context's cluster; without a namespace, that of `MC_NAMESPACE`, else the context's own.

        Raises:
            CouldNotTell: there is no kubectl.
        """
        namespace = namespace or os.environ.get("MC_NAMESPACE") or None
        if namespace is None:  # without a context kubectl fails here, and may yet be in a pod
            view = ("config", "view", "--minify", "-o", "jsonpath={..namespace}")
            namespace = kubectl(*view).out.strip()
        return cls(namespace or "default")

    def objects(self, *kinds: str) -> list[Object]:
        """The objects of some kinds in the namespace; `namespace` is the namespace itself.

        Raises:
            CouldNotTell: they may not be read, or the cluster does not answer.
        """
        found: list[Object] = []
        here = [kind for kind in kinds if kind != "namespace"]
        for command in (
            ("get", ",".join(here), "-n", self.namespace),
            ("get", "namespace", self.namespace),
        )[: 2 if "namespace" in kinds else 1]:
            what = f"{' '.join(command)} failed"
            answer = _require(kubectl(*command, "-o", "json", _PATIENCE), what)
            found += objects_of(answer.out.encode(), f"kubectl {' '.join(command)}")
        return found

    def create_dry(self, pod: Mapping[str, Any]) -> Answer:
        """Have the API look at a pod as if it were made, by all of its admission; none is."""
        command = ("create", "--dry-run=server", "-n", self.namespace, "-f", "-", _PATIENCE)
        return kubectl(*command, text=json.dumps({"apiVersion": "v1", "kind": "Pod", **pod}))


def kubectl(*arguments: str, text: str | None = None, timeout_s: float = _TIMEOUT_S) -> Answer:
    """Run kubectl.

    Raises:
        CouldNotTell: there is none, or it does not end.
    """
    try:
        done = subprocess.run(
            ["kubectl", *arguments],
            input=text or "",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError as error:
        hint = "install kubectl, or check manifests by --manifests"
        raise CouldNotTell("kubectl is not installed", hint=hint) from error
    except subprocess.TimeoutExpired as error:
        raise CouldNotTell(f"kubectl {arguments[0]} did not end within {timeout_s:g} s") from error
    except OSError as error:
        raise CouldNotTell(f"kubectl cannot be run: {error.strerror}") from error
    return Answer(done.returncode, done.stdout, done.stderr)


def _require(answer: Answer, what: str) -> Answer:
    if answer.code:
        raise CouldNotTell(
            f"{what}: {answer.said}",
            hint="kubectl config current-context says which cluster; kubectl auth can-i --list what you may",
        )
    return answer


def admission(cluster: Cluster, pods: Sequence[Pod]) -> Iterator[CheckResult]:
    """Ask the cluster's own admission, which knows of exemptions and webhooks that labels do not show."""
    name = "admission-refuses-privileged"
    templates = [pod for pod in pods if pod.owner.kind in _MADE_OF_TEMPLATES]
    # As one of ours: who it runs as is looked up before Pod Security is asked
    account = templates[0].spec.get("serviceAccountName") if templates else None
    spec = {**_BAD_POD, "serviceAccountName": account}
    answer = cluster.create_dry({"metadata": {"name": "preflight-bad"}, "spec": spec})
    if answer.code and _VIOLATES not in answer.said:
        yield unknown(name, f"a privileged pod is refused for another reason: {answer.said}")
    else:
        why = "a privileged pod is admitted (dry run)"
        fix = (
            "enforce restricted by its labels; look for exemptions in the admission's configuration"
        )
        wrong = [] if answer.code else [Finding(f"Namespace {cluster.namespace}", "", why, fix)]
        yield from results(name, wrong, "a privileged pod is refused by Pod Security (dry run)")
    wrong = []
    for pod in templates:
        metadata = {
            "generateName": "preflight-",
            "labels": pod.labels,
            "annotations": dict(pod.of("annotations", pod.metadata)),
        }
        answer = cluster.create_dry({"metadata": metadata, "spec": pod.spec})
        if answer.code:
            fix = "change what it names; kubectl describe the workload shows the same"
            wrong.append(Finding(str(pod.owner), pod.path, answer.said, fix))
    good = f"pods of {counted(len(templates), 'template')} are admitted (dry run)"
    yield from results("admission-admits-ours", wrong, good)
