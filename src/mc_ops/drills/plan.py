"""What a drill is asked for, and what it will do and may lose, told before anything is broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mc_contract.drill import LOSING, WINDOW_S, Course

REQUEST_TIMEOUT_S = 2.0

_BREAKS = {
    "region-kill": "kill -9 of every replica, the edge and PostgreSQL, at one instant",
    "db-kill": "kill -9 of PostgreSQL, at one instant; replicas and edge go on without it",
    "freeze": "every replica, the edge and PostgreSQL stand still (SIGSTOP), at one instant",
}
_RECOVERY = {
    "region-kill": "the platform is started again, as `mcctl up` does: it has one region",
    "db-kill": "PostgreSQL is started again, as `mcctl up` does",
    "freeze": "they go on (SIGCONT)",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One drill.

    Attributes:
        scenario: One of `mc_contract.drill.SCENARIOS`.
        tokens: A bearer token of each tenant whose requests are measured; never shown.
        rate_per_s: Requests of each tenant.
        before_s: How long the load runs before the fault.
        freeze_s: How long a `freeze` lasts.
        most_rto_s: The longest RTO that meets the target.
        most_lost: The greatest number of lost writes of a tenant that meets the target.
    """

    scenario: str
    tokens: Mapping[str, str] = field(repr=False)
    rate_per_s: float
    before_s: float = 5.0
    freeze_s: float = 5.0
    most_rto_s: float = 60.0
    most_lost: int = 0

    @property
    def patience_s(self) -> float:
        """How long after the fault recovery is waited for."""
        return self.freeze_s + 2 * self.most_rto_s + 10 * WINDOW_S

    def course(self, fault_s: float) -> Course:
        """What the figures are computed with."""
        return Course(
            scenario=self.scenario,
            fault_s=fault_s,
            rate_per_s=self.rate_per_s,
            window_s=WINDOW_S,
            most_rto_s=self.most_rto_s,
            most_lost=self.most_lost,
        )

    def lines(self) -> list[str]:
        """The plan in words, the expected loss among them."""
        losing = self.scenario in LOSING
        loss = "nothing: an answer leaves when its record is on this machine's disk" + (
            ", and that survives the processes (not the machine)" if losing else ""
        )
        return [
            (
                f"load           {self.rate_per_s:g} requests/s of each of {', '.join(self.tokens)}, "
                f"{self.before_s:g} s before the fault"
            ),
            f"fault          {_BREAKS[self.scenario]}",
            f"recovery       {_RECOVERY[self.scenario]}"
            + (f" after {self.freeze_s:g} s" if self.scenario == "freeze" else ""),
            f"expected loss  {loss}",
            (
                f"target         RTO at most {self.most_rto_s:g} s, at most {self.most_lost} "
                "acknowledged writes of a tenant lost"
            ),
        ]
