"""What the playbook of a canary on HOLD ends with: its findings, a conclusion, and what is next."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mc_contract.judgement.verdict import Judgement
from mc_ops.incidents.canary_hold.files import CanaryFiles
from mc_ops.incidents.canary_hold.now import Now
from mc_ops.incidents.canary_hold.where import Blocks, Instance
from mc_ops.incidents.finding import Finding


class Conclusion(Enum):
    """Where the decision tree ends."""

    promoted = "no HOLD: the run says PROMOTE"
    altered = "the verdict does not follow from the samples"
    smoke = "the candidate failed its smoke check"
    metrics = "the metrics do not confirm what the samples show"
    void = "the run is void: the driver was late"
    refused = "the machine refused work on both sides alike"
    changed = "a replica was replaced during the run"
    baseline_failing = "the baseline failed too often to compare with it"
    errors = "the candidate fails more often"
    one_instance = "one candidate instance differs from the others"
    regression = "the candidate is slower"
    inconclusive = "too little evidence either way"


@dataclass(slots=True)
class HoldDiagnosis:
    """What was found.

    Attributes:
        culprit: The one candidate instance that stands out, if it is one.
        rest: The judgement of all pairs but its.
        next: (what for, command), in order.
        now: What there is of it now.
    """

    name: str
    files: CanaryFiles
    judgement: Judgement | None
    conclusion: Conclusion = Conclusion.inconclusive
    findings: list[Finding] = field(default_factory=list)
    blocks: Blocks | None = None
    instances: list[Instance] = field(default_factory=list)
    culprit: Instance | None = None
    rest: Judgement | None = None
    next: list[tuple[str, str]] = field(default_factory=list)
    now: Now = field(default_factory=Now)

    def as_dict(self) -> dict[str, Any]:
        """The diagnosis as it appears in JSON."""
        judgement = self.judgement
        return {
            "run": self.name,
            "folder": str(self.files.folder),
            "conclusion": self.conclusion.name,
            "findings": [finding.as_dict() for finding in self.findings],
            "judgement": judgement.as_dict() if judgement else None,
            "time": self.blocks.as_dict() if self.blocks else None,
            "instances": [instance.as_dict() for instance in self.instances],
            "next": [{"for": what, "do": how} for what, how in self.next],
        }
