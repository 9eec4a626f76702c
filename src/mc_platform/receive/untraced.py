"""No work for tracing that is off.

The SDK wraps each method of its dispatchers in a span (7 microseconds each with OpenTelemetry's API
alone, 3 with its own switch off; four for a message). Unless its switch is set to `true` by whoever
runs the service, the methods are taken out of their wrappers.
"""

from __future__ import annotations

import inspect
import os

SWITCH = "OTEL_INSTRUMENTATION_A2A_SDK_ENABLED"
_WRAPPER = "a2a.utils.telemetry"


def untrace(*classes: type) -> None:
    """Take the methods of SDK classes out of what `a2a.utils.telemetry` put around them."""
    if os.environ.get(SWITCH, "").lower() == "true":
        return
    for cls in classes:
        for name, method in vars(cls).copy().items():
            if _is_span(method):
                setattr(cls, name, inspect.unwrap(method, stop=lambda inner: not _is_span(inner)))


def _is_span(method: object) -> bool:
    # Only these: beneath them the SDK wraps what checks the version and answers errors
    return inspect.isfunction(method) and method.__globals__["__name__"] == _WRAPPER
