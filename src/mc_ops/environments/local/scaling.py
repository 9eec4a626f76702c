"""`mcctl scale`: replicas of one colour started, stopped, or started anew.

Beside them, where it is asked for, a fresh baseline: what serves, once more, to be compared with a
candidate as fresh.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import BASELINE, Colour, Say
from mc_ops.environments.local import releases
from mc_ops.environments.local.health import health_of, require_healthy
from mc_ops.environments.local.layout import MAX_REPLICAS, replica_name, replica_names
from mc_ops.environments.local.outdated import Outdated
from mc_ops.environments.local.processes import ProcessSpec
from mc_ops.environments.local.records import Records
from mc_ops.environments.local.room import require_room
from mc_ops.environments.local.specs import Specs
from mc_ops.environments.local.start import Start
from mc_ops.environments.local.traffic import Traffic
from mc_ops.environments.scaling import require_sensible
from mc_ops.environments.workspace import recall
from mc_ops.errors import CouldNotTell

_CLAIM_WITHIN_S = 5.0  # a free claim to the SIEM is taken within a second or so
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What `Environment.scale` is asked for, of the platform of `records`."""

    records: Records
    traffic: Traffic
    colour: Colour
    replicas: int
    restart: bool
    faults: Faults | None
    baseline: bool

    def require_possible(self) -> Colour | None:
        """Refuse what cannot be done.

        Returns:
            The colour that serves.

        Raises:
            UnusableInput: whatever runs.
            CouldNotTell: the platform is not running.
        """
        active = self.traffic.active_colour()
        require_sensible(
            active,
            self.colour,
            self.replicas,
            most=MAX_REPLICAS,
            restart=self.restart,
            baseline=self.baseline,
        )
        if not self.records.table.alive("edge"):
            raise CouldNotTell("the platform is not running", hint="start it: mcctl up")
        return active

    def carry_out(self, specs: Specs, say: Say) -> None:
        """Change the number of replicas, as `Environment.scale` says; the caller holds the lock."""
        # Once more: before the lock was held another mcctl may have cut over.
        active = self.require_possible()
        records, traffic, colour = self.records, self.traffic, self.colour
        memory = recall(records.layout.home)
        fresh = baseline_specs(records, specs, active, self.replicas) if self.baseline else []
        names = replica_names(colour, self.replicas)
        if self.replicas > len(records.of(colour)) or fresh:
            require_room(records.layout, self._afterwards(names, fresh), self.replicas)
        kept = next((record.settings for record in records.of(colour)), {})
        chosen = Faults.from_settings(kept) if self.faults is None else self.faults
        wanted = [specs.workbench(name, chosen) for name in names]
        Outdated(records).make_room(
            colour, wanted, say, restart=self.restart, baseline=self.baseline
        )
        if self.baseline:
            await_shipper(records, active, say)
        try:
            with Start(records.layout, records.table, say) as start:
                for number, spec in enumerate(wanted):
                    start.processes([spec, *fresh[number : number + 1]])
                start.wait_serving(traffic, active)
        except BaseException:
            with contextlib.suppress(CouldNotTell):
                traffic.send_to(active)  # without those that were undone
            raise
        surplus = [record.name for record in records.of(colour) if record.name not in names]
        traffic.send_to(active, without=surplus)
        if surplus:
            traffic.drain([records.layout.url_of(name) for name in surplus])
            say(f"stopping {', '.join(surplus)}")
            records.table.stop(surplus)
        records.remember(memory, {colour: self.replicas})
        records.forget_releases()
        require_healthy(records.table, names)

    def _afterwards(self, names: list[str], fresh: list[ProcessSpec]) -> list[str]:
        """All replicas that would run; those of a baseline that goes are not among them."""
        groups = (self.colour.other, *(() if self.baseline else (BASELINE,)))
        others = [name for group in groups for name in self.records.names(group)]
        return [*names, *others, *(spec.name for spec in fresh)]


def baseline_specs(
    records: Records, specs: Specs, active: Colour | None, replicas: int
) -> list[ProcessSpec]:
    """Specifications of a fresh baseline; its k-th replica is like the k-th that serves.

    Raises:
        CouldNotTell: nobody serves, or the code that serves was not kept.
    """
    serving = [
        (process.environ(), Faults.from_settings(record.settings))
        for record in (records.of(active) if active else ())
        if (process := record.process())
    ]
    if not serving:
        raise CouldNotTell("nobody serves: there is nothing to compare with", hint="mcctl up")
    if not all(releases.runs_kept_code(records.layout, env) for env, _ in serving):
        raise CouldNotTell(
            f"the code that {active} runs was not kept, so it cannot be started once more",
            hint="it was started by an earlier mcctl: mcctl down, then mcctl up",
        )
    return [
        specs.baseline(replica_name(BASELINE, number + 1), *serving[number % len(serving)])
        for number in range(replicas)
    ]


def await_shipper(records: Records, active: Colour | None, say: Say) -> None:
    """Wait until a replica that serves ships to the SIEM, so that none that is compared does.

    What was stopped just now may have been the one that did.
    """
    deadline = time.monotonic() + _CLAIM_WITHIN_S
    while not any(health_of(record).ships for record in (records.of(active) if active else ())):
        if time.monotonic() > deadline:
            say(f"no replica of {active} ships to the SIEM: one that is compared may have to")
            return
        time.sleep(_POLL_S)
