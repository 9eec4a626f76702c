"""`mcctl scale`: replicas of one colour started, stopped, or started anew."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import Colour, Say
from mc_ops.environments.local.baseline import await_shipper, baseline_specs
from mc_ops.environments.local.health import require_healthy
from mc_ops.environments.local.layout import MAX_REPLICAS, replica_names
from mc_ops.environments.local.outdated import Outdated
from mc_ops.environments.local.processes import ProcessSpec
from mc_ops.environments.local.records import Records
from mc_ops.environments.local.specs import Specs
from mc_ops.environments.local.start import Start
from mc_ops.environments.local.traffic import Traffic
from mc_ops.environments.workspace import recall
from mc_ops.errors import CouldNotTell, UnusableInput


class Scaling:
    """One change of the number of replicas."""

    def __init__(self, records: Records, traffic: Traffic, external: str | None, say: Say) -> None:
        """Look at the platform; changes nothing.

        Args:
            records: Its processes.
            traffic: Its edge.
            external: Admin URL of a PostgreSQL that is not ours.
            say: Is told what is done.
        """
        self._records = records
        self._layout = records.layout
        self._table = records.table
        self._traffic = traffic
        self._external = external
        self._say = say
        self._active = traffic.active_colour()

    def require_possible(
        self, colour: Colour, replicas: int, *, restart: bool, baseline: bool
    ) -> None:
        """Refuse what cannot be done.

        Raises:
            UnusableInput: whatever runs.
            CouldNotTell: the platform is not running.
        """
        _require_scalable(colour, replicas, self._active, restart=restart, baseline=baseline)
        if not self._table.alive("edge"):
            raise CouldNotTell("the platform is not running", hint="start it: mcctl up")

    def carry_out(
        self,
        colour: Colour,
        replicas: int,
        *,
        restart: bool,
        faults: Faults | None,
        baseline: bool,
    ) -> None:
        """Change them; the caller holds the lock.

        Raises:
            UnusableInput, CouldNotTell: as `Environment.scale`.
        """
        self._records.require_same_port()
        memory = recall(self._layout.home)
        specs = Specs.of(self._layout, self._records.service, self._external)
        count = replicas if baseline else 0
        fresh = baseline_specs(self._records, specs, self._active, count) if count else []
        wanted = self._wanted(specs, replica_names(colour, replicas), colour, faults)
        Outdated(self._records).make_room(
            colour, wanted, self._say, restart=restart, baseline=baseline
        )
        if fresh:
            await_shipper(self._records, self._active, self._say)
        self._start(wanted, fresh)
        self._stop_surplus(colour, [spec.name for spec in wanted])
        self._records.remember(memory, {colour: replicas})
        self._records.forget_releases()
        require_healthy(self._table, [spec.name for spec in wanted])

    def _wanted(
        self, specs: Specs, names: Sequence[str], colour: Colour, faults: Faults | None
    ) -> list[ProcessSpec]:
        """With these faults, or else those that the colour's replicas have."""
        kept = next((record.settings for record in self._records.of(colour)), {})
        chosen = Faults.from_settings(kept) if faults is None else faults
        return [specs.workbench(name, chosen) for name in names]

    def _start(self, wanted: Sequence[ProcessSpec], fresh: Sequence[ProcessSpec]) -> None:
        """Start replicas, each with its partner of the fresh baseline, and wait until all serve."""
        try:
            with Start(self._layout, self._table, self._say) as start:
                for number, spec in enumerate(wanted):
                    start.processes([spec, *fresh[number : number + 1]])
                start.wait_serving(self._traffic, self._active)
        except BaseException:
            with contextlib.suppress(CouldNotTell):
                self._traffic.send_to(self._active)  # without those that were undone
            raise

    def _stop_surplus(self, colour: Colour, wanted: Sequence[str]) -> None:
        surplus = [one.name for one in self._records.of(colour) if one.name not in wanted]
        self._traffic.send_to(self._active, without=surplus)
        if surplus:
            self._traffic.drain([self._layout.url_of(name) for name in surplus])
            self._say(f"stopping {', '.join(surplus)}")
            self._table.stop(surplus)


def _require_scalable(
    colour: Colour, replicas: int, active: Colour | None, *, restart: bool, baseline: bool
) -> None:
    """Refuse what cannot be done, whatever runs."""
    if not 0 <= replicas <= MAX_REPLICAS:
        raise UnusableInput(f"{replicas} replicas asked for, expected 0 to {MAX_REPLICAS}")
    if replicas == 0 and colour == active:
        raise UnusableInput(
            f"{colour} serves; with 0 replicas nobody would",
            hint=f"cut over first: mcctl cutover --to {colour.other}",
        )
    if restart and colour == active:
        raise UnusableInput(
            f"{colour} serves; restarting all of it would drop requests",
            hint=f"cut over first: mcctl cutover --to {colour.other}",
        )
    if baseline and not (restart and replicas):
        raise UnusableInput(
            "a fresh baseline is compared with replicas that are as fresh",
            hint="add --restart, and at least 1 replica",
        )
