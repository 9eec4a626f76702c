"""Comparisons that somebody asked for: begun, looked at again, and what came of them.

Each is `mcctl canary run` or `mcctl canary retrospective` as a process of its own, so the verdict is
theirs. All that is known of one is in its folder, `DIR/COMPARISON/RUN`: `begun.json`, and a folder
`attempt-N` with the command's output, its exit code and the files of a canary. A lock that the process
holds says that it runs, also to a server that was started after it. A comparison that was cut short
(the machine, the server) begins anew, three times at most: what was sampled until then is not looked at,
so that nobody has two chances with the same evidence.

One comparison of pairs runs at a time: two would measure each other's load. Who comes second waits.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from mc_ops import exit_codes
from mc_ops.canary.serve.configuration import METRICS, PAIRS, Comparison
from mc_ops.canary_folder import VERDICT
from mc_ops.errors import OpsError
from mc_ops.files import read_json_object, write_atomically

RUNNING, PROMOTE, HOLD, INCONCLUSIVE = "running", "promote", "hold", "inconclusive"
_BEGUN, _EXIT, _LOG, _LOCK, _CANARY = "begun.json", "exit", "log", "lock", "canary"
_MOST_ATTEMPTS = 3
_MOST_KEPT = 50  # runs of a comparison
_MOST_REASON = 400  # characters
# Prometheus has a point when it has scraped it: the last ones of a window come later
_SETTLE = timedelta(seconds=30)
_INTERRUPTED = frozenset({exit_codes.DECLINED, 128 + signal.SIGINT, 128 + signal.SIGTERM})
# The exit code outlives whoever started it
_SCRIPT = (
    '"$@" >"$OUT/log" 2>&1; code=$?; echo $code >"$OUT/exit.new"; mv "$OUT/exit.new" "$OUT/exit"'
)
_MEASURED = (
    *("kind", "regression", "interval", "margin", "decided_at_pairs", "planned_pairs"),
    *("rehearsal", "baseline", "candidate", "metrics"),
)


@dataclass(frozen=True, slots=True)
class State:
    """Where a comparison stands.

    Attributes:
        verdict: `running`, `promote`, `hold` or `inconclusive`.
        measurement: What `verdict.json` has of it; None before there is one.
    """

    verdict: str
    reason: str
    begun_at: datetime | None = None
    measurement: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """Whether it stays so."""
        return self.verdict != RUNNING


class Comparisons:
    """All comparisons of a server; not to be used by two threads at once."""

    def __init__(
        self,
        known: Mapping[str, Comparison],
        folder: Path,
        *,
        command: Sequence[str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Nothing is begun yet.

        Args:
            folder: Where what is known of them is kept; may have that of an earlier server.
            command: How `mcctl` is started.
        """
        self.known = known
        self._folder = folder
        self._command = tuple(command)
        self._now = now
        self._children: list[subprocess.Popen[bytes]] = []

    def look(self, name: str, run: str, *, begin: bool = True) -> State:
        """Where the comparison `name` of `run` stands; it is begun by the first look.

        Args:
            run: The caller's word for what is compared; a `Word` without `:`.
            begin: Whether it may be begun.

        Raises:
            KeyError: there is no such comparison.
            CouldNotTell, OSError: the folder cannot be written.
        """
        one = self.known[name]
        self._children = [child for child in self._children if child.poll() is None]
        folder = self._folder / name / run
        state = self._state(one, folder, run)
        if state is not None and not self._expired(one, folder, state):
            return state
        if not begin:
            return State(RUNNING, "it is not begun")
        if busy := self._busy(one, name):
            return State(RUNNING, f"waits for its turn: {busy} is under way")
        if state is not None:
            shutil.rmtree(folder)
        self._begin(folder, name)
        return self._state(one, folder, run) or State(RUNNING, "it is not begun")

    def _begin(self, folder: Path, name: str) -> None:
        kept = sorted((self._folder / name).glob("*/begun.json"), key=lambda at: at.stat().st_mtime)
        for old in kept[: max(0, len(kept) + 1 - _MOST_KEPT)]:
            shutil.rmtree(old.parent)
        folder.mkdir(parents=True)
        begun = {"begun_at": self._now().isoformat()}
        write_atomically(folder / _BEGUN, json.dumps(begun))

    def _state(self, one: Comparison, folder: Path, run: str) -> State | None:
        """None: it was never begun."""
        if not (folder / _BEGUN).is_file():
            return None
        begun_at = datetime.fromisoformat((read_json_object(folder / _BEGUN) or {})["begun_at"])
        end = begun_at + timedelta(minutes=one.minutes)
        if one.kind == METRICS and self._now() < end + _SETTLE:
            done = (self._now() - begun_at).total_seconds() / 60
            reason = f"the window is open: {max(done, 0):.1f} of {one.minutes:g} minutes"
            return State(RUNNING, reason, begun_at)
        attempts = sorted(folder.glob("attempt-?"))
        if attempts:
            newest = attempts[-1]
            if _runs(newest):
                return State(RUNNING, "both sides are compared", begun_at)
            code = _exit_code(newest)
            if code is not None and code not in _INTERRUPTED:
                return _judged(newest, code, begun_at)
            if len(attempts) >= _MOST_ATTEMPTS:
                reason = f"it was cut short {len(attempts)} times; see the judge's machine"
                return State(INCONCLUSIVE, reason, begun_at)
        self._attempt(one, folder / f"attempt-{len(attempts) + 1}", run, begun_at)
        return State(RUNNING, "both sides are compared", begun_at)

    def _attempt(self, one: Comparison, folder: Path, run: str, begun_at: datetime) -> None:
        folder.mkdir()
        command = [*self._command, *one.command(run, folder / _CANARY, begun_at)]
        with _locked(folder) as lock:
            self._children.append(
                subprocess.Popen(
                    ["sh", "-c", _SCRIPT, "sh", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "OUT": str(folder)},
                    pass_fds=[lock.fileno()],
                    start_new_session=True,
                )
            )

    def _expired(self, one: Comparison, folder: Path, state: State) -> bool:
        if not state.final or state.begun_at is None:
            return False
        ended = max(found.stat().st_mtime for found in folder.glob("attempt-?"))
        valid = timedelta(minutes=one.valid_minutes)
        return self._now() > datetime.fromtimestamp(ended, UTC) + valid

    def _busy(self, one: Comparison, name: str) -> str | None:
        """What runs already that this one must not run beside."""
        if one.kind != PAIRS:
            return None
        for other, settings in self.known.items():
            for attempt in (self._folder / other).glob("*/attempt-?"):
                if settings.kind == PAIRS and _runs(attempt):
                    return f"{other} of {attempt.parent.name}" if other != name else "another one"
        return None

    def close(self, patience_s: float = 3.0) -> None:
        """End what runs; a server that is started again begins it anew."""
        for child in self._children:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGINT)
        for child in self._children:
            try:
                child.wait(patience_s)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()


@contextmanager
def _locked(folder: Path) -> Iterator[IO[str]]:
    with (folder / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _runs(attempt: Path) -> bool:
    """Whether its process lives: it holds the lock that it was given."""
    try:
        with (attempt / _LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _exit_code(attempt: Path) -> int | None:
    try:
        return int((attempt / _EXIT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _judged(attempt: Path, code: int, begun_at: datetime) -> State:
    """What an ended command says: promote by exit 0 alone, and all that is no finding is inconclusive."""
    found: dict[str, Any] = {}
    with suppress(OpsError, OSError):
        found = read_json_object(attempt / _CANARY / VERDICT) or {}
    measurement = {key: found[key] for key in _MEASURED if key in found} or None
    reason = str(found.get("reason") or "")[:_MOST_REASON]
    said = found.get("verdict")
    if code == exit_codes.OK and said in ("PROMOTE", "METRICS-PASS"):
        return State(PROMOTE, reason, begun_at, measurement)
    if code == exit_codes.FINDING and said == "HOLD":
        verdict = INCONCLUSIVE if _is_open(found) else HOLD
        return State(verdict, reason, begun_at, measurement)
    why = _last_line(attempt / _LOG) or reason or f"the comparison ended with status {code}"
    return State(INCONCLUSIVE, why, begun_at, measurement)


def _is_open(found: Mapping[str, Any]) -> bool:
    """Whether a HOLD is one for want of evidence, and not by evidence."""
    kind, metrics = found.get("kind"), found.get("metrics")
    if kind in ("metrics", "retrospective"):
        return isinstance(metrics, dict) and metrics.get("outcome") == "inconclusive"
    return kind in ("inconclusive", "void")


def _last_line(log: Path) -> str:
    """The error that the command ended with, without its hint."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    written = [line for line in lines if line.strip()]
    errors = [line for line in written if "error" in line] or written
    return errors[-1].strip()[:_MOST_REASON] if errors else ""
