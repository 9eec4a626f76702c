"""The logs of pods by time: the last lines of each, what was before a restart, and on."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mc_contract.log_lines import framed
from mc_ops.environments.interface import LogFilter, LogLine
from mc_ops.environments.kubernetes import pods as pod_facts
from mc_ops.environments.kubernetes.client import Absent, Client, Object
from mc_ops.environments.kubernetes.names import SERVICE
from mc_ops.environments.log_lines import in_order, merged, read_line
from mc_ops.errors import OpsError, UnusableInput

_POLL_S = 2.0
_QUEUED = 10_000  # lines that nobody has read yet; then the streams wait


def read_logs(
    client: Client, listed: Callable[[], Sequence[Object]], names: Sequence[str], wanted: LogFilter
) -> Iterator[LogLine]:
    """Yield the lines that are wanted of each pod, in the order of their times over all pods.

    With `follow`, go on until closed, or until every named pod is gone.

    Args:
        client: Of the namespace.
        listed: The pods that there are.
        names: Whose; all without any, and with `follow` those that come later, too.
        wanted: Of a container that was started again, the lines of before count as well.

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
    if wanted.follow:
        return _Following(client, listed, frozenset(names), wanted).lines(pods)
    return merged([_Log(client, pod, wanted).last(pod) for pod in pods])


def restart_line(pod: Object) -> str:
    """The line between the log of a container that ended and that of the one started in its place."""
    return framed(f"--- restarted: {pod_facts.last_ending(pod) or 'why is not known'} ---")


class _Log:
    """One pod's log; the kubelet gives its lines with the time at which it got each."""

    def __init__(self, client: Client, pod: Object, wanted: LogFilter) -> None:
        self.name = pod_facts.name_of(pod)
        self._client, self._wanted = client, wanted
        self._newest = ""

    def last(self, pod: Object) -> list[LogLine]:
        """The last lines that are wanted; none of a container that never started, or is not kept."""
        most = self._wanted.lines
        if most == 0:
            return []
        found: list[LogLine] = []
        if pod_facts.restarts(pod):
            found = [*self._tail(previous=True), LogLine(self.name, restart_line(pod))]
        now = self._tail()
        if most is not None:
            found = [] if len(now) >= most else found[len(now) - most - 1 :]
            now = now[-most:]
        return in_order([*found, *now])

    def _tail(self, *, previous: bool = False) -> list[LogLine]:
        # The last lines in which something is found are not among the last lines
        count = self._wanted.lines if self._wanted.pattern is None else None
        since_s = self._wanted.since_s
        since = datetime.fromtimestamp(since_s, UTC).isoformat() if since_s else None
        with contextlib.suppress(
            Absent, UnusableInput
        ):  # 400: the container waits to start, or the kubelet let go of it
            return list(self._read(tail_lines=count, since_time=since, previous=previous))
        return []

    def on(self) -> Iterator[LogLine]:
        """What comes after what was read; of a log of which nothing was wanted, only what is new."""
        begins = {"tail_lines": 0} if self._wanted.lines == 0 and not self._newest else {}
        since = f"{self._newest[:19]}Z" if self._newest else None
        yield from self._read(since_time=since, follow=True, timeout=None, **begins)

    def all_from_now(self) -> None:
        """Whatever the log has is wanted from here on: it is another container's."""
        self._wanted = replace(self._wanted, lines=None)

    def _read(self, **options: Any) -> Iterator[LogLine]:
        for given in self._client.log(self.name, container=SERVICE, timestamps=True, **options):
            stamp, _, text = given.partition(" ")
            # To nanoseconds, and without a fraction where that is nought
            order = stamp.rstrip("Z") if "." in stamp else f"{stamp.rstrip('Z')}."
            if order <= self._newest:
                continue
            self._newest = order
            line = read_line(text)
            at = pod_facts.moment(stamp).timestamp() if line.at is None else line.at
            if at >= self._wanted.since_s and self._wanted.takes(text):
                yield LogLine(self.name, line.text, at)


class _Following:
    """Streams of several pods, each read by a thread of its own, in the order in which lines come."""

    def __init__(
        self,
        client: Client,
        listed: Callable[[], Sequence[Object]],
        names: frozenset[str],
        wanted: LogFilter,
    ) -> None:
        self._client, self._listed, self._names, self._wanted = client, listed, names, wanted
        self._queue: queue.Queue[LogLine | OpsError] = queue.Queue(_QUEUED)
        self._ended = threading.Event()
        self._followed: set[str] = set()

    def lines(self, pods: Sequence[Object]) -> Iterator[LogLine]:
        """Yield until closed, or until every named pod is gone."""
        try:
            logs = [_Log(self._client, pod, self._wanted) for pod in pods]
            yield from merged([log.last(pod) for log, pod in zip(logs, pods, strict=True)])
            for log in logs:
                self._follow(log)
            looked = time.monotonic()
            while not (self._names and not self._followed and self._queue.empty()):
                try:
                    item = self._queue.get(timeout=_POLL_S)
                except queue.Empty:
                    item = None
                if isinstance(item, OpsError):
                    raise item
                if item is not None:
                    yield item
                if not self._names and time.monotonic() - looked > _POLL_S:
                    looked = time.monotonic()
                    for pod in self._listed():
                        if pod_facts.name_of(pod) not in self._followed:
                            self._follow(_Log(self._client, pod, replace(self._wanted, lines=None)))
        finally:
            self._ended.set()

    def _follow(self, log: _Log) -> None:
        self._followed.add(log.name)
        threading.Thread(target=self._read, args=(log,), daemon=True).start()

    def _read(self, log: _Log) -> None:
        """Read one pod's log until it is gone; all of a container that starts meanwhile."""
        seen = -1  # restarts of the container whose log was read last
        try:
            while not self._ended.is_set():
                pod = self._client.get("pods", log.name)
                if seen >= 0 and not pod_facts.stays(pod):
                    break
                if not pod_facts.running(pod) and not pod_facts.restarts(pod) > seen:
                    self._ended.wait(1.0)
                    continue
                if 0 <= seen < pod_facts.restarts(pod):
                    self._put(LogLine(log.name, restart_line(pod)))
                    log.all_from_now()
                seen = pod_facts.restarts(pod)
                self._stream(log)
        except Absent:
            pass
        except OpsError as error:
            self._put(error)
        self._followed.discard(log.name)

    def _stream(self, log: _Log) -> None:
        with contextlib.suppress(UnusableInput):  # it is between two starts
            for line in log.on():
                self._put(line)
                if self._ended.is_set():
                    return

    def _put(self, item: LogLine | OpsError) -> None:
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=1.0)
            except queue.Full:
                continue
            return
