"""Stage 5, enact: operations of ordered actions, each with a compensation, that always end.

    engine = OperationEngine(database_url=..., executor_id="blue-1", application_version="0.3.2",
                             catalogue=catalogue, record_blocking=record, load_task=load_task)
    await engine.launch()
    await engine.start(request)                         # durable when it returns
    report = await engine.wait(request.id, timeout_s=10)  # completed, compensated or stuck
    await engine.shutdown(drain_s=10)

Whether an operation may run is decided before this stage (`decide`); the only place in the service
that knows DBOS.
"""

from __future__ import annotations

from mc_platform.enact.actions import ENTRY_POINT_GROUP, PythonAction
from mc_platform.enact.breaker import Breaker, Limits
from mc_platform.enact.calls import RetryPolicy, StepFailed
from mc_platform.enact.engine import OperationEngine
from mc_platform.enact.engine_database import SCHEMA as ENGINE_SCHEMA
from mc_platform.enact.engine_database import migrate_engine
from mc_platform.enact.engine_status import operation_of
from mc_platform.enact.homes import HomeKeeper
from mc_platform.enact.http_actions import effect_key_of
from mc_platform.enact.resolution import ResolutionMode, ResolutionReport

__all__ = [
    "ENGINE_SCHEMA",
    "ENTRY_POINT_GROUP",
    "Breaker",
    "HomeKeeper",
    "Limits",
    "OperationEngine",
    "PythonAction",
    "ResolutionMode",
    "ResolutionReport",
    "RetryPolicy",
    "StepFailed",
    "effect_key_of",
    "migrate_engine",
    "operation_of",
]
