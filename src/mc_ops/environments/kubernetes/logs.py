"""The logs of pods, side by side: the last lines of each, what was before a restart, and on."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from mc_ops.environments.interface import LogLine
from mc_ops.environments.kubernetes import pods as pod_facts
from mc_ops.environments.kubernetes.client import Absent, Client, Object
from mc_ops.environments.kubernetes.names import SERVICE
from mc_ops.errors import OpsError, UnusableInput

_POLL_S = 2.0
_QUEUED = 10_000  # lines that nobody has read yet; then the streams wait


def read_logs(
    client: Client,
    listed: Callable[[], Sequence[Object]],
    names: Sequence[str],
    *,
    lines: int,
    follow: bool,
) -> Iterator[LogLine]:
    """Yield the last `lines` lines of each pod; with `follow`, go on until closed.

    Args:
        client: Of the namespace.
        listed: The pods that there are.
        names: Whose; all without any, and with `follow` those that come later, too.
        lines: How many of each at most; of a container that was started again also those of before.
        follow: Go on, across restarts, until the pod is gone.

    Raises:
        UnusableInput: no pod has one of these names.
    """
    found = {pod_facts.name_of(pod): pod for pod in listed()}
    for name in names:
        if name not in found:
            raise UnusableInput(
                f'there is no log of "{name}"', hint=f"known: {', '.join(found) or 'no pod runs'}"
            )
    pods = [found[name] for name in names] or list(found.values())
    if follow:
        return _Following(client, listed, wanted=frozenset(names), lines=lines).lines(pods)
    return _last(client, pods, lines)


def _last(client: Client, pods: Sequence[Object], lines: int) -> Iterator[LogLine]:
    for pod in pods:
        name = pod_facts.name_of(pod)
        now = _tail(client, pod, lines)
        if pod_facts.restarts(pod) and len(now) < lines:
            for text in _tail(client, pod, lines - len(now), previous=True):
                yield LogLine(name, text)
            yield LogLine(name, restart_line(pod))
        for text in now:
            yield LogLine(name, text)


def restart_line(pod: Object) -> str:
    """The line between the log of a container that ended and that of the one started in its place."""
    return f"--- restarted: {pod_facts.last_ending(pod) or 'why is not known'} ---"


def _tail(client: Client, pod: Object, lines: int, *, previous: bool = False) -> list[str]:
    """The last lines; none of a container that never started, or is not kept."""
    if not lines:
        return []
    name = pod_facts.name_of(pod)
    try:
        return list(client.log(name, container=SERVICE, tail_lines=lines, previous=previous))
    except (
        Absent,
        UnusableInput,
    ):  # 400: the container waits to start, or the kubelet let go of it
        return []


class _Following:
    """Streams of several pods, each read by a thread of its own, in the order in which lines come."""

    def __init__(
        self,
        client: Client,
        listed: Callable[[], Sequence[Object]],
        *,
        wanted: frozenset[str],
        lines: int,
    ) -> None:
        self._client, self._listed, self._wanted, self._count = client, listed, wanted, lines
        self._queue: queue.Queue[LogLine | OpsError] = queue.Queue(_QUEUED)
        self._ended = threading.Event()
        self._followed: set[str] = set()

    def lines(self, pods: Sequence[Object]) -> Iterator[LogLine]:
        """Yield until closed, or until every named pod is gone."""
        try:
            for pod in pods:
                self._follow(pod, self._count)
            looked = time.monotonic()
            while not (self._wanted and not self._followed and self._queue.empty()):
                try:
                    item = self._queue.get(timeout=_POLL_S)
                except queue.Empty:
                    item = None
                if isinstance(item, OpsError):
                    raise item
                if item is not None:
                    yield item
                if not self._wanted and time.monotonic() - looked > _POLL_S:
                    looked = time.monotonic()
                    for pod in self._listed():
                        if pod_facts.name_of(pod) not in self._followed:
                            self._follow(pod, None)
        finally:
            self._ended.set()

    def _follow(self, pod: Object, lines: int | None) -> None:
        name = pod_facts.name_of(pod)
        self._followed.add(name)
        threading.Thread(target=self._read, args=(name, lines), daemon=True).start()

    def _read(self, name: str, lines: int | None) -> None:
        """Read one pod's log until it is gone; all of a container that starts meanwhile."""
        seen = -1  # restarts of the container whose log was read last
        try:
            while not self._ended.is_set():
                pod = self._client.get("pods", name)
                if seen >= 0 and not pod_facts.stays(pod):
                    break
                if not pod_facts.running(pod) and not pod_facts.restarts(pod) > seen:
                    self._ended.wait(1.0)
                    continue
                if seen >= 0:
                    lines = self._again(pod, seen)
                seen = pod_facts.restarts(pod)
                self._stream(name, lines)
        except Absent:
            pass
        except OpsError as error:
            self._put(error)
        self._followed.discard(name)

    def _again(self, pod: Object, seen: int) -> int | None:
        """How many lines are wanted of a log whose stream ended: all of another container's."""
        if pod_facts.restarts(pod) == seen:
            return 0  # the connection broke
        self._put(LogLine(pod_facts.name_of(pod), restart_line(pod)))
        return None

    def _stream(self, name: str, lines: int | None) -> None:
        options = {"container": SERVICE, "tail_lines": lines, "follow": True, "timeout": None}
        with contextlib.suppress(UnusableInput):  # it is between two starts
            for text in self._client.log(name, **options):
                self._put(LogLine(name, text))
                if self._ended.is_set():
                    return

    def _put(self, item: LogLine | OpsError) -> None:
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=1.0)
            except queue.Full:
                continue
            return
