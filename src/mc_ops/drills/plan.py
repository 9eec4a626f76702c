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
    "restore": "kill -9 of every replica, the edge and PostgreSQL, at one instant; the disk of PostgreSQL counts as lost",
}
_BREAKS_REGION = {
    "region-kill": "kill -9 of every replica, edge and PostgreSQL of {home}, and of its link, at one instant",
    "db-kill": "kill -9 of the PostgreSQL of {home}, at one instant",
    "freeze": "every replica, edge and PostgreSQL of {home} stand still (SIGSTOP), at one instant",
    "restore": "kill -9 of every replica, edge and PostgreSQL of {home}, and of its link, at one instant; the disk of its "
    "PostgreSQL counts as lost",
    "link-cut": "nothing that {home} and {survivor} send to each other arrives: replication, requests "
    "that are passed on",
}
_MOVES = (
    "{survivor} takes the homes when the lease of {home} has lapsed; clients ask it meanwhile. Then {home} "
    "comes back and catches up, and the homes are moved back"
)
_CUT_LOSES = (
    "nothing: each region keeps what it accepts; operations only at {home}, which stays the home"
)
_RECOVERY = {
    "region-kill": "the platform is started again, as `mcctl up` does: it has one region",
    "db-kill": "PostgreSQL is started again, as `mcctl up` does",
    "freeze": "they go on (SIGCONT)",
    "restore": "a backup that is made now is restored to a moment before the fault, the ledger begins its next epoch, and "
    "the region is halted until what is lost is counted. Its former files stay beside",
}
_RESTORED_MOVES = (
    "{survivor} takes the homes when the lease of {home} has lapsed; clients ask it meanwhile. A backup that is "
    "made now is restored in {home} to a moment before the fault, its ledger begins its next epoch, and it is halted until what is lost "
    "is counted. Then {survivor} gives back what it has, and the homes are moved back. The former files of {home} stay beside"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One drill.

    Attributes:
        scenario: One of `mc_contract.drill.SCENARIOS`.
        tokens: A bearer token of each tenant whose requests are measured; never shown.
        rate_per_s: Requests of each tenant.
        before_s: How long the load runs before the fault.
        cut_s: How long a `link-cut` lasts.
        freeze_s: How long a `freeze` lasts.
        most_rto_s: The longest RTO that meets the target.
        most_lost: The greatest number of lost writes of a tenant that meets the target.
        operator: A bearer token of an operator, for homes; never shown.
        operating: Tenants that also ask for operations.
        operations_per_s: Operations of each of these.
        home: The region that is broken; empty where there is one.
        survivor: The other region.
        lag_s: How far the survivor was behind when it was last looked, if there is one.
        sync: Tenants whose answers wait for the other region: nothing of theirs may be lost.
        puts_back: Whether moved homes are put back at the end.
    """

    scenario: str
    tokens: Mapping[str, str] = field(repr=False)
    rate_per_s: float
    before_s: float = 5.0
    freeze_s: float = 5.0
    cut_s: float = 60.0
    most_rto_s: float = 60.0
    most_lost: int = 0
    operator: str = field(default="", repr=False)
    operating: tuple[str, ...] = ()
    operations_per_s: float = 5.0
    home: str = ""
    survivor: str = ""
    lag_s: float = 0.0
    sync: tuple[str, ...] = ()
    puts_back: bool = True

    @property
    def patience_s(self) -> float:
        """How long after the fault recovery is waited for."""
        return max(self.freeze_s, self.cut_s) + 2 * self.most_rto_s + 10 * WINDOW_S

    @property
    def writes_per_s(self) -> float:
        """Of a tenant: what it asks is recorded before it is answered."""
        return self.rate_per_s + (self.operations_per_s if self.operating else 0.0)

    @property
    def restores(self) -> bool:
        """Whether the disk of the region counts as lost, and a backup is restored."""
        return self.scenario == "restore"

    @property
    def cuts(self) -> bool:
        """Whether the link is cut, and nothing else is broken."""
        return self.scenario == "link-cut"

    @property
    def least_s(self) -> float:
        """How long a drill takes from its fault on, at least: until the newest figures are known."""
        lasts_s = self.cut_s if self.cuts else self.freeze_s if self.scenario == "freeze" else 0.0
        return lasts_s + WINDOW_S + REQUEST_TIMEOUT_S

    def course(self, fault_s: float, times: Mapping[str, float | None]) -> Course:
        """What the figures are computed with."""
        return Course(
            scenario=self.scenario,
            fault_s=fault_s,
            rate_per_s=self.rate_per_s,
            window_s=WINDOW_S,
            most_rto_s=self.most_rto_s,
            most_lost=self.most_lost,
            operations_per_s=self.operations_per_s if self.operating else 0.0,
            decided_s=times.get("decided_s") if self.home else None,
            mended_s=times.get("mended_s"),
            home=self.home,
            sync=self.sync,
        )

    def expected_loss(self, lag_s: float) -> str:
        """What a fault may take now, where a survivor is that far behind."""
        waiting = f"; nothing of {', '.join(self.sync)}, whose answers wait" if self.sync else ""
        return (
            f"up to {self.writes_per_s * lag_s:.0f} acknowledged writes of each tenant, until {self.home} is back: "
            f"{self.survivor} is {lag_s:.3f} s behind{waiting}"
        )

    def lines(self) -> list[str]:
        """The plan in words, the expected loss among them."""
        losing = self.scenario in LOSING
        loss = "nothing: an answer leaves when its record is on this machine's disk" + (
            ", and that survives the processes (not the machine)" if losing else ""
        )
        operations = (
            f", {self.operations_per_s:g} operations/s of {', '.join(self.operating)}"
            if self.operating
            else ""
        )
        if self.home:
            loss = _CUT_LOSES if self.cuts else self.expected_loss(self.lag_s)
        breaks = _BREAKS_REGION if self.home else _BREAKS
        moves = _RESTORED_MOVES if self.restores else _MOVES
        recovery = moves if self.home else _RECOVERY.get(self.scenario, "")
        if self.restores and not self.home:
            loss = "what is acknowledged after the moment that is restored: some seconds' writes, counted just before the fault"
        if self.cuts:
            recovery = f"the link carries again after {self.cut_s:g} s"
        names = {"home": self.home, "survivor": self.survivor}
        return [
            (
                f"load           {self.rate_per_s:g} requests/s of each of {', '.join(self.tokens)}"
                f"{operations}, {self.before_s:g} s before the fault"
            ),
            f"fault          {breaks[self.scenario].format(**names)}",
            f"recovery       {recovery.format(**names)}"
            + (
                f" after {self.freeze_s:g} s" if self.scenario == "freeze" and not self.home else ""
            ),
            f"expected loss  {loss.format(**names)}",
            (
                f"target         RTO at most {self.most_rto_s:g} s, at most {self.most_lost} "
                "acknowledged writes of a tenant lost"
            ),
        ]
