"""The registry of actions: what the catalogue declares, bound to what carries it out.

An action is declared as two HTTP calls or names a Python entry point of the group
`mc_platform.actions`. Everything wrong with any of them is reported at once, before traffic.
Which action runs when, and what a failure leads to, is the saga's business.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar, runtime_checkable

from mc_contract.keepable import NotKeepable, check_keepable, json_text, read_recorded
from mc_platform.enact.calls import (
    DO_RETRIES,
    MOST_DEPTH_OF_RESULT,
    UNDO_RETRIES,
    Called,
    Effect,
    RemainingS,
    RetryPolicy,
    StepFailed,
    Values,
    call,
)
from mc_platform.enact.http_actions import MAX_REPLY_BYTES, HttpAction, spec_problems
from mc_platform.errors import Misconfigured
from mc_platform.model.catalogue import ActionSpec, Retries
from mc_platform.model.ids import ActionName
from mc_platform.ports import BlockingHttp

ENTRY_POINT_GROUP = "mc_platform.actions"
_SHORTEST_TIMEOUT_S = 0.1

_T = TypeVar("_T")


@runtime_checkable
class PythonAction(Protocol):
    """An effect and its compensation, in Python; both run in a worker thread and may block.

    Raise `StepFailed` for a failure whose nature is known. Any other exception is taken for a
    passing failure whose effect may have happened: it is tried again, and compensated in the end.
    """

    def do(self, input: Values, key: str) -> Values:
        """Have the effect once per `key`, however often it is called; return JSON values."""

    def undo(self, input: Values, result: Values | None, key: str) -> object:
        """Take the effect back; `result` is None when it is not known whether it happened.

        `key` is the compensation's own; `effect_key_of(key)` is the key that `do` got.
        """


class Refuse:
    """The built-in `mc.refuse`: always fails, without effect. The canary's last step."""

    def do(self, input: Values, key: str) -> Values:  # noqa: ARG002
        raise StepFailed("refused")

    def undo(self, input: Values, result: Values | None, key: str) -> None:
        """Nothing was done, so nothing is to be undone."""


class TimedAction:
    """A Python action whose calls end after a time, whether they have ended or not.

    A thread cannot be stopped: the one that took too long is left behind, and may have its effect
    yet. Like a late HTTP call it carries its key, and has to heed that it was undone meanwhile.

    Args:
        action: The action.
        timeout_s: For each call; None lets it take its time, deadline or not.
    """

    def __init__(self, action: PythonAction, timeout_s: float | None) -> None:
        self._action = action
        self._timeout_s = timeout_s

    def do(
        self,
        input: Values,
        key: str,
        *,
        tenant: str = "",  # noqa: ARG002
        home: int = 0,  # noqa: ARG002
        most_s: float = math.inf,
    ) -> Values:
        """One attempt of the effect."""
        return self._timed(lambda: self._action.do(input, key), most_s)

    def undo(
        self,
        input: Values,
        result: Values | None,
        key: str,
        *,
        tenant: str = "",  # noqa: ARG002
        home: int = 0,  # noqa: ARG002
    ) -> object:
        """One attempt of the compensation."""
        return self._timed(lambda: self._action.undo(input, result, key), math.inf)

    def _timed(self, body: Callable[[], _T], most_s: float) -> _T:
        if self._timeout_s is None:
            return body()
        ended: Future[_T] = Future()
        # A daemon: a call that hangs for ever must not keep the process from stopping
        threading.Thread(
            target=_settle, args=(ended, body), name="timed-action", daemon=True
        ).start()
        timeout_s = min(self._timeout_s, most_s)
        try:
            return ended.result(timeout_s)
        except TimeoutError as error:
            if ended.done():  # the action's own error, not ours
                raise
            raise StepFailed("timed out", retryable=True, effect_possible=True) from error


def _settle(ended: Future[_T], body: Callable[[], _T]) -> None:
    try:
        ended.set_result(body())
    except BaseException as error:  # noqa: BLE001 told to whoever waits
        ended.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Registered:
    action: HttpAction | TimedAction
    do_retries: RetryPolicy
    undo_retries: RetryPolicy


class ActionRegistry:
    """Actions by name, each ready to be called; safe between threads.

    Args:
        specs: The catalogue's actions.
        http: For declared HTTP calls; owned by the caller.
        do_retries: Attempts of an effect, for an action that declares none itself.
        undo_retries: Attempts of a compensation, likewise. What failures of it are tried again
            holds for all actions.

    Raises:
        Misconfigured: listing every problem of every action.
    """

    def __init__(
        self,
        specs: Mapping[ActionName, ActionSpec],
        *,
        http: BlockingHttp,
        do_retries: RetryPolicy = DO_RETRIES,
        undo_retries: RetryPolicy = UNDO_RETRIES,
    ) -> None:
        self._actions: dict[ActionName, _Registered] = {}
        installed = entry_points(group=ENTRY_POINT_GROUP)
        found: list[str] = []
        for name, spec in specs.items():
            try:
                named = list(installed.select(name=spec.entry_point))
                self._actions[name] = _Registered(
                    _bind(spec, http, named),
                    _policy(spec.retries, do_retries),
                    _policy(spec.undo_retries, undo_retries),
                )
            except Misconfigured as problem:
                found.append(f"actions.{name}: {problem.message}")
        if found:
            raise Misconfigured(
                "; ".join(found), hint="mend the catalogue's [actions], see docs/how-to/actions.md"
            )

    def do(
        self,
        name: ActionName,
        input: Values,
        key: str,
        wait: Callable[[float], None],
        remaining_s: RemainingS = lambda: math.inf,
        *,
        tenant: str,
        home: int = 0,
    ) -> Called:
        """Have the effect of action `name`, with retries; failure is an answer, not an error.

        Args:
            name: Which action.
            input: The operation's input.
            key: The effect's idempotency key.
            wait: Sleeps between attempts.
            remaining_s: Until the deadline, which bounds attempts and waits.
            tenant: Whose operation it is.
            home: The term of the tenant's home; 0 where there is one region.
        """
        found = self._actions.get(name)
        if found is None:
            return _unregistered()

        def attempt() -> Values:
            most_s = max(_SHORTEST_TIMEOUT_S, remaining_s())
            return _json_object(
                _guarded(
                    partial(found.action.do, input, key, tenant=tenant, home=home, most_s=most_s)
                )
            )

        return call(attempt, found.do_retries, wait, remaining_s=remaining_s)

    def undo(
        self,
        name: ActionName,
        input: Values,
        result: Values | None,
        key: str,
        wait: Callable[[float], None],
        *,
        tenant: str,
        home: int = 0,
    ) -> Called:
        """Compensate action `name`, with retries; `result` is None if the effect is uncertain."""
        found = self._actions.get(name)
        if found is None:
            return _unregistered()

        def attempt() -> Values:
            _guarded(partial(found.action.undo, input, result, key, tenant=tenant, home=home))
            return {}

        return call(attempt, found.undo_retries, wait, gone_is_done=result is None)


def _unregistered() -> Called:
    # An operation that outlived its action: the catalogue changed before it was recovered
    reason = "action is no longer registered"
    return Called(ok=False, attempts=1, effect=Effect.none, reason=reason)


def _policy(declared: Retries | None, usual: RetryPolicy) -> RetryPolicy:
    if declared is None:
        return usual
    return replace(
        usual,
        attempts=declared.attempts,
        first_wait_s=declared.first_wait_s,
        longest_wait_s=declared.longest_wait_s,
    )


def _bind(
    spec: ActionSpec, http: BlockingHttp, named: list[EntryPoint]
) -> HttpAction | TimedAction:
    if not spec.entry_point:
        found = spec_problems(spec)
        if found or spec.do is None or spec.undo is None:
            raise Misconfigured(", ".join(found) or "needs `do` and `undo`")
        return HttpAction(spec.do, spec.undo, http)
    if spec.entry_point == "mc.refuse":
        return TimedAction(Refuse(), spec.timeout_s)
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
    return TimedAction(action, spec.timeout_s)


def _guarded(body: Callable[[], _T]) -> _T:
    try:
        return body()
    except StepFailed:
        raise
    except Exception as error:
        # The type's name only: a message may hold what was sent
        reason = f"error ({type(error).__name__.lower()})"
        raise StepFailed(reason, retryable=True, effect_possible=True) from error


def _json_object(value: object) -> Values:
    if not isinstance(value, Mapping):
        raise StepFailed("result is not a json object", effect_possible=True)
    try:
        check_keepable(value, most_depth=MOST_DEPTH_OF_RESULT)
        text = json_text(dict(value))
    except NotKeepable as error:
        raise StepFailed(f"result cannot be kept ({error.kind})", effect_possible=True) from error
    except Exception as error:
        # A type of somebody's own that only looks like JSON's: it is no more so the next time
        raise StepFailed("result cannot be kept (not json)", effect_possible=True) from error
    if len(text) > MAX_REPLY_BYTES:
        raise StepFailed("result too large", effect_possible=True)
    copied: dict[str, Any] = read_recorded(text)
    return copied
