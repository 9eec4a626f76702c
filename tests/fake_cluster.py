"""A real HTTP server that speaks what an HPA playbook needs of the Kubernetes API.

One namespace with HPAs and events; merge patches are applied as RFC 7386 has it. Beside that it
fails as it is told to.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

TOKEN = "the-cluster-token"
NAMESPACE = "prod"
_HPAS = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/"
_EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"

_COLLECTIONS = ("pods",)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def hpa(name: str = "agent-workbench", **spec: Any) -> dict[str, Any]:
    """An HPA with a target of 70 % CPU."""
    target = {"type": "Utilization", "averageUtilization": 70}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "minReplicas": 3,
            "maxReplicas": 20,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            **spec,
        },
        "status": {"currentReplicas": 6, "desiredReplicas": 6},
    }


def rescaled(at: str, size: int, *, name: str = "agent-workbench", **more: Any) -> dict[str, Any]:
    """The event of one rescaling."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{at}.{size}", "namespace": NAMESPACE},
        "involvedObject": {"kind": "HorizontalPodAutoscaler", "name": name},
        "reason": "SuccessfulRescale",
        "message": f"New size: {size}; reason: All metrics below target",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        **more,
    }


class Cluster:
    """The server and what it holds.

    Attributes:
        failures: (method, part of the path) to the HTTP status that is answered instead.
        ignores_patches: Answer 200, and change nothing.
        patches: The bodies that came, with their content type.
        objects: What else there is: the whole path of an object to it.
        logs: The text of a pod's log, by its name; `previous NAME`: of its container before.
        refused: The rights that its user has not: verb and resource.
    """

    def __init__(self, folder: Path) -> None:
        self.hpas: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.failures: dict[tuple[str, str], int] = {}
        self.ignores_patches = False
        self.patches: list[tuple[str, Any]] = []
        self.asked: list[str] = []
        self.objects: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.refused: set[tuple[str, str]] = set()
        handler = type("Handler", (_Handler,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(self._config()), encoding="utf-8")  # JSON is YAML

    def _config(self) -> dict[str, Any]:
        port = self._server.server_address[1]
        cluster = {"server": f"http://127.0.0.1:{port}"}
        context = {"cluster": "c", "user": "u", "namespace": NAMESPACE}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": context}],
        }

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    cluster: ClassVar[Cluster]

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        """Read an HPA, or list events."""
        parts = urlsplit(self.path)
        self.cluster.asked.append(self.path)
        if self._failed("GET", parts.path):
            return
        if parts.path.rstrip("/") == "/version":
            self._answer(200, {"major": "1", "minor": "35", "gitVersion": "v1.35.0"})
        elif parts.path == _EVENTS:
            self._answer(200, {"kind": "EventList", "apiVersion": "v1", "items": self._listed()})
        elif parts.path.removeprefix(_HPAS) in self.cluster.hpas:
            self._answer(200, self.cluster.hpas[parts.path.removeprefix(_HPAS)])
        elif parts.path in self.cluster.objects:
            self._answer(200, self.cluster.objects[parts.path])
        elif parts.path.endswith("/log"):
            before = "previous " if "previous=true" in parts.query else ""
            text = self.cluster.logs[before + parts.path.split("/")[-2]]
            self._send(200, "text/plain", text.encode())
        elif parts.path.rsplit("/", 1)[1] in _COLLECTIONS:
            found = self._below(parts.path)
            self._answer(200, {"kind": "List", "apiVersion": "v1", "items": found})
        else:
            self._fail(404)

    def _below(self, path: str) -> list[dict[str, Any]]:
        """The objects of a collection that have the labels that are asked for."""
        wanted = parse_qs(urlsplit(self.path).query).get("labelSelector", [""])[0]
        pairs = {tuple(pair.split("=", 1)) for pair in wanted.split(",") if pair}
        return [
            found
            for place, found in self.cluster.objects.items()
            if place.rpartition("/")[0] == path
            and pairs <= set(found["metadata"].get("labels", {}).items())
        ]

    def _listed(self) -> list[dict[str, Any]]:
        wanted = parse_qs(urlsplit(self.path).query).get("fieldSelector", [""])[0]
        pairs = [pair.split("=", 1) for pair in wanted.split(",") if pair]
        return [
            event
            for event in self.cluster.events
            if all(event["involvedObject"][key.split(".")[1]] == value for key, value in pairs)
        ]

    def do_POST(self) -> None:
        """Say whether the user has a right."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["spec"]["resourceAttributes"]
        parts = (asked["resource"], asked.get("subresource"))
        right = (asked["verb"], "/".join(filter(None, parts)))
        self._answer(201, {**body, "status": {"allowed": right not in self.cluster.refused}})

    def do_PATCH(self) -> None:
        """Apply a merge patch."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = urlsplit(self.path).path
        if self._failed("PATCH", path):
            return
        name = path.removeprefix(_HPAS)
        if name not in self.cluster.hpas:
            self._fail(404)
            return
        self.cluster.patches.append((str(self.headers["Content-Type"]), body))
        if not self.cluster.ignores_patches:
            self.cluster.hpas[name] = merged(self.cluster.hpas[name], body)
        self._answer(200, self.cluster.hpas[name])

    def _failed(self, method: str, path: str) -> bool:
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._fail(401)
            return True
        for (wanted, part), status in self.cluster.failures.items():
            if wanted == method and part in path:
                self._fail(status)
                return True
        return False

    def _fail(self, code: int) -> None:
        self._answer(code, {"kind": "Status", "code": code, "message": f"told to fail: {code}"})

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        self._send(code, "application/json", json.dumps(body).encode())

    def _send(self, code: int, kind: str, data: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
