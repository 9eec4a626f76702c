"""The playbook "SIEM Sink Failure": look, see to the backup file, watch it recover.

The sequence goes on whatever a step finds: that the SIEM is down is why the file is seen to, and
the last look decides, and dead letters: delivery that works again does not bring them back.
Nothing is lost meanwhile, with or without the file: every event is in the
ledger, and the SIEM's cursor stays where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mc_ops.errors import OpsError
from mc_ops.incidents.finding import Finding, Status
from mc_ops.incidents.siem_failure.probe import SiemTarget, Through, probe_siem
from mc_ops.incidents.siem_failure.recovery import Recovery, Watch, watch_until_recovered


class Verdict(Enum):
    """How the playbook ends."""

    recovered = "recovered"
    dead_letters = "dead letters"
    """Delivery works, but not all events will get there by it."""
    still_failing = "still failing"
    could_not_tell = "could not tell"


@dataclass(frozen=True, slots=True)
class BackupState:
    """Whether the running replicas have the backup file: of each by its name."""

    enabled: dict[str, bool]
    paths: frozenset[str] = frozenset()

    @property
    def everywhere(self) -> bool:
        """Whether every replica has it, and there is one."""
        return bool(self.enabled) and all(self.enabled.values())


@dataclass(slots=True)
class SiemFailure:
    """One run of the playbook.

    Attributes:
        target: The SIEM, or None when nothing says where it is.
        backup: Reads how things stand with the file; None where the environment cannot tell.
        enable: Enables it on every replica, or None when that was not agreed to.
        looked: One look at the replicas.
        through: Where the SIEM is asked from; None: here.
        findings: What was found so far.
        last: The last look.
    """

    target: SiemTarget | None
    backup: Callable[[], BackupState | None]
    enable: Callable[[], None] | None
    looked: Callable[[], Watch]
    through: Through | None = None
    findings: list[Finding] = field(default_factory=list)
    last: Watch | None = None

    def run(
        self,
        *,
        timeout_s: float,
        tell: Callable[[Finding], None],
        tell_watch: Callable[[Watch], None],
    ) -> Verdict:
        """Go through the steps, telling each as it ends."""
        for finding in self._steps():
            self.findings.append(finding)
            tell(finding)
        self.last = watch_until_recovered(self.looked, timeout_s=timeout_s, tell=tell_watch)
        unreached = self._unreached()
        if unreached is not None:
            self.findings.append(unreached)
            tell(unreached)
        letters = _dead_letters(self.last.dead_letters)
        self.findings.append(letters)
        tell(letters)
        return _verdict(self.last) if unreached is None else Verdict.still_failing

    def _unreached(self) -> Finding | None:
        """What keeps a SIEM from being reached to which nothing was sent meanwhile; None: nothing does.

        Replicas that have nothing to deliver, as those just restarted, do not notice that it is down.
        """
        failed = any(finding.status is Status.failed for finding in self.findings)
        if self.target is None or self.last is None or not failed:
            return None
        if self.last.recovery is not Recovery.recovered:
            return None
        for finding in self._probes():
            if finding.status is Status.failed:
                why = f"nothing shows a delivery to it since, and the SIEM fails at {finding.step}: {finding.detail}"
                return Finding("delivery", Status.failed, why, finding.remedy)
        return None

    def as_dict(self) -> dict[str, Any]:
        """The run as it appears in JSON."""
        return {
            "findings": [finding.as_dict() for finding in self.findings],
            "delivery": self.last.as_dict() if self.last else None,
        }

    def _steps(self) -> Iterator[Finding]:
        yield from self._probes()
        yield self._backed_up()

    def _probes(self) -> Iterable[Finding]:
        if self.target is None:
            return [
                Finding(
                    "settings",
                    Status.failed,
                    "AUDIT_SIEM_URL is not set: events stay in the ledger",
                    "set AUDIT_SIEM_URL and AUDIT_SIEM_KEY, and restart the replicas",
                )
            ]
        return probe_siem(self.target, self.through)

    def _backed_up(self) -> Finding:
        step = "backup"
        state = self.backup()
        if state is None or not state.enabled:
            return Finding(step, Status.unknown, "no replica's settings can be read")
        if state.everywhere:
            where = ", ".join(sorted(state.paths)) or "its path"
            return Finding(step, Status.ok, f"enabled on every replica: {where}")
        without = ", ".join(sorted(name for name, has in state.enabled.items() if not has))
        if self.enable is None:
            return Finding(
                step,
                Status.warning,
                f"not enabled on {without}",
                "repeat with --yes to enable it; until then the ledger alone holds the events",
            )
        try:
            self.enable()
        except OpsError as error:
            remedy = error.hint or "start the replicas with AUDIT_FILE_ENABLED=true"
            return Finding(step, Status.failed, f"not enabled: {error.message}", remedy)
        after = self.backup()
        if after is None or not after.everywhere:
            return Finding(step, Status.failed, "not every replica has it after the change")
        return Finding(step, Status.ok, f"enabled now; {without} had been without")


def _verdict(last: Watch) -> Verdict:
    if last.recovery is Recovery.unknown:
        return Verdict.could_not_tell
    if last.recovery is not Recovery.recovered:
        return Verdict.still_failing
    if last.dead_letters is None:
        return Verdict.could_not_tell
    return Verdict.dead_letters if last.dead_letters else Verdict.recovered


def _dead_letters(count: int | None) -> Finding:
    step = "dead letters"
    if count is None:
        return Finding(step, Status.unknown, "no replica shows whether there are dead letters")
    if count == 0:
        return Finding(step, Status.ok, "no dead letters")
    return Finding(
        step,
        Status.failed,
        f"{count} {'dead letter' if count == 1 else 'dead letters'}: refused by the SIEM for good, "
        "and not sent again",
        "which, and why: mcctl audit dead-letters list; then: mcctl audit dead-letters resend",
    )
