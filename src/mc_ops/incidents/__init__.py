"""Incident playbooks that `mcctl` runs: what to look at, in which order, and what to do about it.

    findings = probe_siem(SiemTarget(url="https://siem.example/ingest", key="..."))

Looking changes nothing; what a playbook changes, it is given as a callable by `mc_ops.cli`, which
asks first. Keys are shown to the SIEM and to nobody else: a finding says whether one is set.
"""

from mc_ops.autoscaler.oscillation import Oscillation, oscillation
from mc_ops.incidents.finding import Finding, Status
from mc_ops.incidents.siem_failure.pod import CURL, FromPod
from mc_ops.incidents.siem_failure.probe import SiemTarget, probe_siem
from mc_ops.incidents.siem_failure.recovery import Recovery, Watch, look
from mc_ops.incidents.siem_failure.verdict import BackupState, SiemFailure, Verdict

__all__ = [
    "CURL",
    "BackupState",
    "Finding",
    "FromPod",
    "Oscillation",
    "Recovery",
    "SiemFailure",
    "SiemTarget",
    "Status",
    "Verdict",
    "Watch",
    "look",
    "oscillation",
    "probe_siem",
]
