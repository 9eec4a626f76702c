"""The fresh baseline: what serves, once more, to be compared with a candidate as fresh."""

from __future__ import annotations

import time

from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import BASELINE, Colour, Say
from mc_ops.environments.local import releases
from mc_ops.environments.local.health import health_of
from mc_ops.environments.local.layout import replica_name
from mc_ops.environments.local.processes import ProcessSpec
from mc_ops.environments.local.records import Records
from mc_ops.environments.local.specs import Specs
from mc_ops.errors import CouldNotTell

_CLAIM_WITHIN_S = 5.0  # a free claim to the SIEM is taken within a second or so
_POLL_S = 0.1


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
