"""The policy set of a workspace's platform: looked at, judged, put in place and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mc_contract.numbers import counted
from mc_ops.environments import Environment, Instance, policy_set
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.policies.apply import policy_health
from mc_ops.policies.offline import ask_service


class LocalSet:
    """The local platform as a `policies.Target`."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.workspace = environment.workspace
        self._current = ""
        self._undo: policy_set.Undo | None = None

    def install(self, source: Path) -> None:
        self._undo = policy_set.install(self.workspace, source, self._current)

    def undo(self) -> None:
        assert self._undo is not None  # something was put in place
        policy_set.undo(self.workspace, self._undo)

    def restore(self, digest: str) -> None:
        self._undo = policy_set.restore(self.workspace, digest, self._current)

    def instances(self) -> Sequence[Instance]:
        return self._environment.instances()

    def require_own_copy(self) -> str:
        """The digest of the copy at which the replicas look.

        Raises:
            CouldNotTell: the platform was never started here, or a replica tells no policy.
            UnusableInput: a replica looks elsewhere; on a cluster it is in the image.
        """
        if self._environment.name == "kubernetes":
            raise UnusableInput(
                "a cluster's policy set is part of the image, and comes with a release",
                hint="mcctl policy check DIR; then build the image, and roll it out as a candidate",
            )
        if not self.workspace.policies.is_dir():
            raise CouldNotTell(
                f"the platform has no policy set of its own yet ({self.workspace.home})",
                hint="start it: mcctl up",
            )
        report, _ = ask_service(["check", "--dir", str(self.workspace.policies)])
        digest = str(report["digest"])
        for instance in self.instances():
            if policy_health(instance).digest != digest:
                raise UnusableInput(
                    f"{instance.name} has another policy set in force than the platform's own copy",
                    hint=f"was it started with {policy_set.SETTING}? then change the set there",
                )
        self._current = digest
        return digest

    @contextmanager
    def as_shown(self) -> Iterator[None]:
        """While no other mcctl changes the platform, and the set in place is the one last looked at.

        Raises:
            CouldNotTell: another one has put another set in place since.
        """
        shown = self._current
        with self._environment.locked():
            if self.require_own_copy() != shown:
                raise CouldNotTell(
                    "another policy set was put in place meanwhile; nothing was changed",
                    hint="mcctl policy history shows whose it is; then repeat the command",
                )
            yield


def require_good(folder: Path) -> str:
    """The digest of a set that validates and whose tables hold.

    Raises:
        Finding: it would be refused.
        UnusableInput: there is no set, or it has no tables.
    """
    report, holds = ask_service(["check", "--dir", str(folder)])
    if not holds:
        raise Finding(
            f"the set has {counted(len(report['problems']), 'problem')}: {report['problems'][0]}",
            hint=f"mcctl policy check {folder}",
        )
    report, holds = ask_service(["test", "--dir", str(folder)])
    if not holds:
        raise Finding(
            f"{counted(len(report['failing']), 'example')} of its tables failed: {report['failing'][0]}",
            hint=f"mcctl policy test {folder}",
        )
    return str(report["digest"])
