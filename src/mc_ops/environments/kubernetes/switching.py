"""The cutover on a cluster: one word in the selector of the Service that clients reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mc_ops.environments.faults import told_by
from mc_ops.environments.interface import Colour, Instance, Switch
from mc_ops.environments.kubernetes import hold as holding
from mc_ops.environments.kubernetes import record, told
from mc_ops.environments.kubernetes.client import Client
from mc_ops.environments.kubernetes.lease import Lease
from mc_ops.environments.kubernetes.names import COLOUR, SERVICE, deployment_of
from mc_ops.environments.kubernetes.reading import Reading
from mc_ops.errors import CouldNotTell, Finding

_SLICES_OF = "kubernetes.io/service-name"
_LED_WITHIN_S = 30.0
_POLL_S = 0.3


def switch(
    client: Client,
    reading: Reading,
    lease: Lease,
    colour: Colour,
    *,
    allow_faults: bool,
    hold: Callable[[Sequence[Instance]], None] | None,
) -> Switch:
    """As `Environment.switch`; the caller holds the lock."""
    service = client.get("services", SERVICE)
    before = reading.active_colour()
    instances = reading.instances(colour)
    _require_fit(instances, colour, faults_too=before != colour and not allow_faults)
    if before == colour:
        return Switch(source=before, target=colour, changed=False)
    if hold is not None:
        hold(instances)
    lease.require()
    what = f"mcctl cutover --to {colour} (from {before})"
    meta = {
        # Whoever changed it since it was looked at must not be overwritten
        "resourceVersion": service["metadata"]["resourceVersion"],
        "annotations": record.signed(what),
    }
    body = {"metadata": meta, "spec": {"selector": {COLOUR: colour.value}}}
    after = client.patch("services", SERVICE, body)
    record.event(client, after, "CutOver", what)
    if reading.active_colour() != colour:
        raise CouldNotTell(
            f"service/{SERVICE} was changed to {colour}, and selects another when read back",
            hint="something undoes it: GitOps that owns the manifest, say",
        )
    _await_led(client, reading, colour, instances)
    holding.release(client, client.find("horizontalpodautoscalers", deployment_of(colour)))
    return Switch(source=before, target=colour, changed=True)


def _require_fit(instances: Sequence[Instance], colour: Colour, *, faults_too: bool) -> None:
    """See that replicas of this colour run, each healthy and, if that counts, without faults.

    Raises:
        Finding: they do not.
    """
    if not instances:
        raise Finding(
            f"no replica of {colour} runs; nothing was changed",
            hint=f"mcctl scale {SERVICE} --colour {colour} --replicas N --env kubernetes",
        )
    for one in told.ask(instances):
        if not one.healthy:
            raise Finding(
                f"{one.instance.name} is not healthy ({one.word}); nothing was changed",
                hint=f"mcctl logs {one.instance.name} --env kubernetes",
            )
        if one.faults and faults_too:
            raise Finding(
                f"{colour} runs with faults {told_by(one.faults)}; nothing was changed",
                hint=f"start it without: mcctl scale {SERVICE} --colour {colour} --replicas "
                f"{len(instances)} --restart --fault none --env kubernetes; "
                "or, in a rehearsal, --allow-faults",
            )


def _await_led(
    client: Client, reading: Reading, colour: Colour, instances: Sequence[Instance]
) -> None:
    """Wait until the Service leads to these replicas and, beside them, to none of another side.

    Raises:
        CouldNotTell: it does not, though its selector says so.
    """
    wanted = {one.name for one in instances}
    deadline = time.monotonic() + _LED_WITHIN_S
    while True:
        found = _led_to(client)
        of_side = {pod["metadata"]["name"] for pod in reading.pods(colour)}
        if wanted <= found <= of_side | wanted:
            return
        if time.monotonic() > deadline:
            raise CouldNotTell(
                f"service/{SERVICE} selects {colour}, and does not lead there: "
                f"{', '.join(sorted(found ^ wanted))}",
                hint=f"kubectl get endpointslices -l {_SLICES_OF}={SERVICE}",
            )
        time.sleep(_POLL_S)


def _led_to(client: Client) -> set[str]:
    """The pods to which the public Service leads."""
    slices = client.objects("endpointslices", labels={_SLICES_OF: SERVICE})
    return {
        endpoint["targetRef"]["name"]
        for one in slices
        for endpoint in one.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready") is not False and "targetRef" in endpoint
    }
