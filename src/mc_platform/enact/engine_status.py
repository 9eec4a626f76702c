"""What DBOS has kept of an operation: how far it is, how it ended, and what is wished of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dbos import DBOS, WorkflowStatus

from mc_platform.enact.engine_rows import CANCEL
from mc_platform.enact.sealed import END, INPUT, SealBroken, SealedContent
from mc_platform.enact.worker import report_from
from mc_platform.errors import Conflict, NotFound
from mc_platform.model.engine_state import EngineState, Phase
from mc_platform.model.ids import OperationId
from mc_platform.model.operation import OperationReport, Outcome

RESOLUTION_SUFFIX = ":resolve:"
_END_LOOKS, _END_LOOK_S = 10, 0.1
ENDED = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})


def report_of(
    operation_id: OperationId, status: WorkflowStatus | None, content: SealedContent
) -> OperationReport | None:
    """The operation's end; None while it runs, or if it is unknown."""
    if status is None or status.status not in ENDED:
        return None
    # Only a defect or an outside hand leaves no report; saying so beats waiting for ever
    reason = f"engine reports {status.status.lower()}"
    if status.status == "SUCCESS":
        try:
            return report_from(content.open(operation_id, END, status.output or {}))
        except (KeyError, TypeError, ValueError, SealBroken):
            reason = "the engine's report of it cannot be read"
    return OperationReport(operation_id, Outcome.stuck, (), reason)


def request_cancel(operation_id: OperationId) -> bool:
    """Keep the wish to cancel; False if the operation has ended or is unknown."""
    status = DBOS.get_workflow_status(operation_id)
    if status is None or status.status in ENDED:
        return False
    DBOS.update_workflow_attributes(operation_id, {CANCEL: True}, merge=True)
    return True


def next_resolution(operation_id: OperationId, content: SealedContent) -> dict[str, Any]:
    """The payload of the next resolution of an operation, but for who asks and why.

    Raises:
        NotFound, Conflict: as `OperationEngine.resolve`.
    """
    # The ledger has the end a moment before the engine keeps it
    for _ in range(_END_LOOKS):
        found = {
            one.workflow_id: one for one in DBOS.list_workflows(workflow_id_prefix=operation_id)
        }
        operation = found.pop(operation_id, None)
        if operation is None:
            raise NotFound(f"no operation {operation_id}")
        if operation.status in ENDED:
            break
        time.sleep(_END_LOOK_S)
    else:
        raise Conflict("the operation has not ended", hint="cancel it, or wait for its end")
    last = operation
    for number in range(1, len(found) + 1):
        last = found.get(f"{operation_id}{RESOLUTION_SUFFIX}{number}", last)
    if last.status not in ENDED:
        raise Conflict("a resolution of this operation is running", hint="wait for its end")
    kept = None
    if isinstance(last.output, Mapping):
        kept = content.open(OperationId(last.workflow_id), END, last.output)
    if kept is None:
        raise Conflict(
            f"the engine holds no report of the operation ({last.status.lower()})",
            hint="nobody knows what stands: look at the receivers of its steps",
        )
    if kept.get("outcome", Outcome.stuck.value) != Outcome.stuck.value:
        raise Conflict(f"the operation is {kept['outcome']}, not stuck")
    if kept.get("resolved"):
        raise Conflict(f"the operation was resolved already, at attempt {len(found)}")
    assert operation.input is not None
    if not operation.input["args"]:
        raise Conflict(
            "the engine has no input of the operation: another region accepted it",
            hint="nobody knows what stands: look at the receivers of its steps",
        )
    return {
        "operation": content.open(operation_id, INPUT, operation.input["args"][0]),
        "standing": kept.get("standing", []),
        "attempt": len(found) + 1,
    }


def ended_before(before: datetime, limit: int, skip: int) -> list[str]:
    """Ids of what ended, oldest first; see `OperationEngine.ended_before`."""
    until = before.isoformat()
    found = DBOS.list_workflows(
        status=sorted(ENDED),
        end_time=until,
        completed_before=until,
        limit=limit,
        offset=skip,
        load_input=False,
        load_output=False,
    )
    return [one.workflow_id for one in found]


def operation_of(workflow_id: str) -> str:
    """The operation to which a workflow belongs: itself, or the one that it resolves."""
    return workflow_id.partition(RESOLUTION_SUFFIX)[0]


def state_of(found: WorkflowStatus, live: Mapping[str, str] | None) -> EngineState:
    """Where it is; `live` are the replicas that hold a lease, with their versions."""
    replica, version = found.executor_id or "", found.app_version or ""
    if found.status in ENDED:
        phase = Phase.ended
    elif live is not None and version not in live.values():
        phase = Phase.waiting
    elif found.status != "PENDING":
        phase = Phase.queued
    else:
        phase = Phase.running if live is None or replica in live else Phase.adopting
    return EngineState(phase, replica, version)
