"""The registry of actions: what the catalogue declares, bound to what carries it out.

An action is declared as two HTTP calls or names a Python entry point of the group
`mc_platform.actions`. Everything wrong with any of them is reported at once, before traffic.
Which action runs when, and what a failure leads to, is the saga's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar, runtime_checkable

import httpx

from mc_platform.enact.calls import (
    DO_RETRIES,
    UNDO_RETRIES,
    Called,
    Effect,
    RetryPolicy,
    StepFailed,
    call,
)
from mc_platform.enact.http_actions import HttpAction, spec_problems
from mc_platform.errors import Misconfigured
from mc_platform.model.catalogue import ActionSpec
from mc_platform.model.ids import ActionName

ENTRY_POINT_GROUP = "mc_platform.actions"

_T = TypeVar("_T")


@runtime_checkable
class PythonAction(Protocol):
    """An effect and its compensation, in Python; both run in a worker thread and may block.

    Raise `StepFailed` for a failure whose nature is known. Any other exception is taken for a
    passing failure whose effect may have happened: it is tried again, and compensated in the end.
    """

    def do(self, input: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """Have the effect once per `key`, however often it is called; return JSON values."""
        ...

    def undo(
        self,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> object:
        """Take the effect back; `result` is None when it is not known whether it happened.

        `key` is the compensation's own; `effect_key_of(key)` is the key that `do` got.
        """
        ...


class Refuse:
    """The built-in `mc.refuse`: always fails, without effect. The canary's last step."""

    def do(self, input: Mapping[str, Any], key: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Refuse."""
        raise StepFailed("refused")

    def undo(
        self,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> None:
        """Nothing was done, so nothing is to be undone."""


_BUILTINS: Mapping[str, Callable[[], PythonAction]] = {"mc.refuse": Refuse}


class ActionRegistry:
    """Actions by name, each ready to be called.

    Args:
        specs: The catalogue's actions.
        client: For declared HTTP calls; owned by the caller.
        do_retries: Attempts of an effect.
        undo_retries: Attempts of a compensation.

    Raises:
        Misconfigured: listing every problem of every action.
    """

    def __init__(
        self,
        specs: Mapping[ActionName, ActionSpec],
        *,
        client: httpx.Client,
        do_retries: RetryPolicy = DO_RETRIES,
        undo_retries: RetryPolicy = UNDO_RETRIES,
    ) -> None:
        self._do_retries = do_retries
        self._undo_retries = undo_retries
        self._actions: dict[ActionName, PythonAction] = {}
        installed = entry_points(group=ENTRY_POINT_GROUP)
        found: list[str] = []
        for name, spec in specs.items():
            try:
                self._actions[name] = _bind(
                    spec, client, list(installed.select(name=spec.entry_point))
                )
            except Misconfigured as problem:
                found.append(f"actions.{name}: {problem.message}")
        if found:
            raise Misconfigured(
                "; ".join(found), hint="mend the catalogue's [actions], see docs/actions.md"
            )

    def do(
        self,
        name: ActionName,
        input: Mapping[str, Any],
        key: str,
        wait: Callable[[float], None],
    ) -> Called:
        """Have the effect of action `name`, with retries; failure is an answer, not an error."""

        def attempt() -> Mapping[str, Any]:
            return _json_object(_guarded(lambda: self._named(name).do(input, key)))

        return call(attempt, self._do_retries, wait)

    def undo(
        self,
        name: ActionName,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
        wait: Callable[[float], None],
    ) -> Called:
        """Compensate action `name`, with retries; `result` is None if the effect is uncertain."""

        def attempt() -> Mapping[str, Any]:
            _guarded(lambda: self._named(name).undo(input, result, key))
            return {}

        return call(attempt, self._undo_retries, wait, gone_is_done=result is None)

    def _named(self, name: ActionName) -> PythonAction:
        action = self._actions.get(name)
        if action is None:
            # An operation that outlived its action: the catalogue changed before it was recovered
            raise StepFailed("action is no longer registered")
        return action


def _bind(spec: ActionSpec, client: httpx.Client, named: list[EntryPoint]) -> PythonAction:
    if not spec.entry_point:
        found = spec_problems(spec)
        if found or spec.do is None or spec.undo is None:
            raise Misconfigured(", ".join(found))
        return HttpAction(spec.do, spec.undo, client)
    builtin = _BUILTINS.get(spec.entry_point)
    if builtin is not None:
        return builtin()
    if len(named) != 1:
        count = "no" if not named else str(len(named))
        raise Misconfigured(
            f"{count} installed package offers entry point {spec.entry_point!r} "
            f"in group {ENTRY_POINT_GROUP!r}, expected one"
        )
    try:
        loaded = named[0].load()
        action = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise Misconfigured(
            f"entry point {spec.entry_point!r} does not load: {type(error).__name__}"
        ) from error
    if not isinstance(action, PythonAction):
        raise Misconfigured(f"entry point {spec.entry_point!r} has no `do` and `undo`")
    return action


def _guarded(body: Callable[[], _T]) -> _T:
    try:
        return body()
    except StepFailed:
        raise
    except Exception as error:
        # The type's name only: a message may hold what was sent
        reason = f"error ({type(error).__name__.lower()})"
        raise StepFailed(reason, retryable=True, effect_possible=True) from error


def _json_object(value: object) -> Mapping[str, Any]:
    try:
        copied = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StepFailed("result is not json", effect_possible=True) from error
    if not isinstance(copied, dict):
        raise StepFailed("result is not a json object", effect_possible=True)
    return copied


__all__ = [
    "ENTRY_POINT_GROUP",
    "ActionRegistry",
    "Called",
    "Effect",
    "PythonAction",
    "Refuse",
    "StepFailed",
]
