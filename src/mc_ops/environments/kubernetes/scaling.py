"""`mcctl scale` on a cluster: replicas of one side, by its Deployment, within its autoscaler's bounds.

A side at 0 is left alone by its autoscaler; one with replicas keeps its minimum at least. While a side
is compared with a fresh baseline its autoscaler is held still (`hold`).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from mc_contract.numbers import counted
from mc_contract.running import release_changes, untold
from mc_ops.environments.faults import Faults, shown
from mc_ops.environments.interface import BASELINE, Colour, Group, Say
from mc_ops.environments.kubernetes import hold, record, told
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.fresh_baseline import baseline_of, is_ours
from mc_ops.environments.kubernetes.lease import Lease
from mc_ops.environments.kubernetes.names import SERVICE, deployment_of
from mc_ops.environments.kubernetes.reading import Reading
from mc_ops.environments.kubernetes.rollout import Change, Rollouts
from mc_ops.environments.kubernetes.waiting import await_gone, await_serving
from mc_ops.environments.scaling import require_sensible
from mc_ops.errors import CouldNotTell, UnusableInput

_MOST = 99
_RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_FAULTS = "MC_FAULT"
_START_WITHIN_S = 270.0
_SHIPS_WITHIN_S = 10.0
_STOPPED_WITHIN_S = 30.0
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What `Environment.scale` is asked for."""

    client: Client
    reading: Reading
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
            UnusableInput: whatever runs, or the autoscaler's bounds are others.
            CouldNotTell: the side has no Deployment.
        """
        active = self.reading.active_colour()
        require_sensible(
            active,
            self.colour,
            self.replicas,
            most=_MOST,
            restart=self.restart,
            baseline=self.baseline,
        )
        hpa = self._hpa()
        if hpa is not None and self.replicas:
            least, most = hold.bounds(hpa)
            name = hpa["metadata"]["name"]
            if not least <= self.replicas <= most:
                raise UnusableInput(
                    f"{counted(self.replicas, 'replica')} of {self.colour} asked for, and its autoscaler keeps "
                    f"{least} to {most}",
                    hint=f"ask for as many, or change minReplicas and maxReplicas of hpa/{name}",
                )
        self._deployment()
        return active

    def carry_out(self, say: Say, lease: Lease) -> None:
        """Change the side, as `Environment.scale` says; the caller holds the lock."""
        active = self.require_possible()
        lease.require()
        if self.baseline:
            self._beside_a_baseline(active, say, lease)
        else:
            self._alone(say, lease)
        record.event(self.client, self._deployment(), "Scaled", self._command)

    @cached_property
    def _command(self) -> str:
        words = ["mcctl scale", SERVICE, "--colour", self.colour, "--replicas", str(self.replicas)]
        words += ["--restart"] if self.restart else []
        if self.faults is not None:
            words += ["--fault", shown(self.faults.settings()) or "none"]
        return " ".join([*words, *(["--baseline"] if self.baseline else [])])

    @cached_property
    def _rollouts(self) -> Rollouts:
        return Rollouts(self.client)

    def _hpa(self) -> Object | None:
        return self.client.find("horizontalpodautoscalers", deployment_of(self.colour))

    def _deployment(self, group: Group | None = None) -> Object:
        return self.client.get("deployments", deployment_of(group or self.colour))

    def _alone(self, say: Say, lease: Lease) -> None:
        """The side by itself: its count, its faults, a rolling restart."""
        deployment = self._deployment()
        had = int(deployment["spec"].get("replicas") or 0)
        other = with_faults(deployment["spec"]["template"], self.faults) is not None
        if had and other and not self.restart:
            raise UnusableInput(
                f"{had} replicas of {self.colour} run with other faults",
                hint="add --restart: all replicas of a side run with the same",
            )
        hold.release(self.client, self._hpa())
        self._rollouts.change(self.colour, self._command, self._template(restarted=bool(had)))
        say(f"{deployment_of(self.colour)}: {had} -> {counted(self.replicas, 'replica')}")
        lease.require()
        self._rollouts.set_replicas(self.colour, self.replicas)
        try:
            await_serving(self.reading, {self.colour: self.replicas}, _START_WITHIN_S)
        except BaseException:
            if had < self.replicas:
                self._rollouts.set_replicas(self.colour, had)
            raise
        if self.replicas < had:
            await_gone(self.reading, self.colour, say, but=self.replicas)

    def _beside_a_baseline(self, active: Colour | None, say: Say, lease: Lease) -> None:
        """Both as fresh: stop what there was, then start a replica of each in turn."""
        if active is None:
            raise CouldNotTell("nobody serves: there is nothing to compare with")
        stop_baseline(self.client, self.reading, say)
        made = baseline_of(self._deployment(active), active, record.signed(self._command))
        rollouts = self._rollouts
        groups: tuple[Group, ...] = (self.colour, BASELINE)
        rollouts.set_replicas(self.colour, 0)
        await_gone(self.reading, self.colour, say)
        self._await_shipper(active, say)
        lease.require()
        rollouts.change(self.colour, self._command, self._template(restarted=False))
        if (hpa := self._hpa()) is not None:
            hold.hold(self.client, hpa, self.replicas)
        try:
            self.client.create("deployments", made)
            say(
                f"starting {counted(self.replicas, 'replica')} of {self.colour}, and of a fresh baseline"
            )
            for count in range(1, self.replicas + 1):
                lease.require()
                for group in groups:
                    rollouts.set_replicas(group, count)
            await_serving(self.reading, dict.fromkeys(groups, self.replicas), _START_WITHIN_S)
            self._require_alike(active)
        except BaseException:
            stop_baseline(self.client, self.reading, say)
            rollouts.set_replicas(self.colour, 0)
            hold.release(self.client, self._hpa())
            raise

    def _template(self, *, restarted: bool) -> Change:
        """The change of a template that brings these faults, and new pods if they are asked for."""

        def changed(template: Object) -> Object | None:
            new = with_faults(template, self.faults)
            if self.restart and restarted:
                new = new or copy.deepcopy(template)
                meta = new["metadata"]
                now = datetime.now(UTC).isoformat(timespec="seconds")
                meta["annotations"] = {**(meta.get("annotations") or {}), _RESTARTED_AT: now}
            return new

        return changed

    def _require_alike(self, active: Colour) -> None:
        """See that the fresh baseline runs what serves: settings may have changed since that started.

        Raises:
            CouldNotTell: it does not, or one of both does not say what it runs.
        """
        serving, fresh = (
            [one.facts for one in told.ask(self.reading.instances(group))]
            for group in (active, BASELINE)
        )
        if not serving:
            raise CouldNotTell("nobody serves: there is nothing to compare with")
        if missing := untold([*serving, *fresh]):
            raise CouldNotTell(
                f"replicas do not tell what they run: {'; '.join(missing)}",
                hint="MC_SCRAPE_TOKEN_FILE names the file with the platform's scrape.token",
            )
        for one in fresh:
            if other := release_changes(serving[0], one):
                raise CouldNotTell(
                    f"a fresh replica of what serves is not what serves: {'; '.join(other)}",
                    hint=f"settings, catalogue or image were changed since {active} started: "
                    f"kubectl rollout restart deploy/{deployment_of(active)}, then repeat",
                )

    def _await_shipper(self, active: Colour, say: Say) -> None:
        """Wait until a replica that serves ships to the SIEM, so that none that is compared does."""
        deadline = time.monotonic() + _SHIPS_WITHIN_S
        while not any(one.ships for one in told.ask(self.reading.instances(active))):
            if time.monotonic() > deadline:
                say(f"no replica of {active} ships to the SIEM: one that is compared may have to")
                return
            time.sleep(_POLL_S)


def stop_baseline(client: Client, reading: Reading, say: Say) -> bool:
    """Remove the fresh baseline; false if there was none.

    Raises:
        UnusableInput: its name is taken by what mcctl did not make.
        CouldNotTell: its pods are not taken away.
    """
    name = deployment_of(BASELINE)
    found = client.find("deployments", name)
    if found is None:
        return False
    if not is_ours(found):
        raise UnusableInput(
            f"deploy/{name} was not made by mcctl, and is left alone", hint="give it another name"
        )
    say(f"stopping {name}")
    client.delete("deployments", name)
    deadline = time.monotonic() + _STOPPED_WITHIN_S
    while reading.pods(BASELINE) or client.find("deployments", name):
        if time.monotonic() > deadline:
            raise CouldNotTell(
                f"pods of {name} stay, though it was deleted", hint="kubectl get pods"
            )
        time.sleep(_POLL_S)
    return True


def with_faults(template: Object, faults: Faults | None) -> Object | None:
    """The template with these faults, and no others; None where nothing is to be changed."""
    if faults is None:
        return None
    container = next(c for c in template["spec"]["containers"] if c["name"] == SERVICE)
    env = container.get("env") or []
    had = {one["name"]: one.get("value", "") for one in env if one["name"].startswith(_FAULTS)}
    wanted = faults.settings()
    if had == wanted:
        return None
    changed = copy.deepcopy(template)
    container = next(c for c in changed["spec"]["containers"] if c["name"] == SERVICE)
    container["env"] = [*_others(env), *({"name": k, "value": v} for k, v in wanted.items())]
    return changed


def _others(env: Iterable[Object]) -> list[Object]:
    return [one for one in env if not one["name"].startswith(_FAULTS)]
