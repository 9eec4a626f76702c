"""The environment variables of a pod, made of what its spec names: literals, settings, secrets, fields."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from mc_ops.environments.kubernetes import pods as pod_facts
from mc_ops.environments.kubernetes.client import Absent, Client, Object
from mc_ops.environments.kubernetes.names import SERVICE
from mc_ops.errors import CouldNotTell, NotAllowed

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")


def settings_of(client: Client, name: str) -> dict[str, str]:
    """The environment variables that a pod's container was started with.

    Raises:
        CouldNotTell: it does not run, they may not be read, or what they were read from was changed
            after it had started.
    """
    try:
        pod = client.get("pods", name)
    except Absent:
        raise CouldNotTell(
            f"{name} does not run", hint="mcctl status --env kubernetes lists those that do"
        ) from None
    if not pod_facts.running(pod):
        raise CouldNotTell(f"{name} does not run", hint=pod_facts.word_of(pod))
    try:
        return _Variables(client, pod).read()
    except NotAllowed as error:
        raise CouldNotTell(
            f"the settings of {name} may not be read: {error.message}", hint=error.hint
        ) from error


class _Variables:
    """Those of one pod; each object that it names is read once."""

    def __init__(self, client: Client, pod: Object) -> None:
        self._client = client
        self._pod = pod
        containers = pod["spec"]["containers"]
        self._container = next((c for c in containers if c["name"] == SERVICE), containers[0])
        self._read: dict[tuple[str, str], dict[str, str]] = {}

    def read(self) -> dict[str, str]:
        """All of them: later ones in place of earlier ones, `$(NAME)` as the earlier ones say."""
        found: dict[str, str] = {}
        for source in self._container.get("envFrom", ()):
            prefix = str(source.get("prefix", ""))
            for key, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if key in source:
                    values = self._values(kind, source[key])
                    found |= {f"{prefix}{name}": value for name, value in values.items()}
        for variable in self._container.get("env", ()):
            value = self._value(variable, found)
            if value is not None:
                found[str(variable["name"])] = value
        return found

    def _value(self, variable: Mapping[str, Any], before: Mapping[str, str]) -> str | None:
        source = variable.get("valueFrom")
        if source is None:
            return expanded(str(variable.get("value", "")), before)
        for key, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if key in source:
                return self._values(kind, source[key]).get(str(source[key]["key"]))
        if "fieldRef" in source:
            return field_of(self._pod, str(source["fieldRef"]["fieldPath"]))
        return None  # resourceFieldRef: the service reads none

    def _values(self, kind: str, reference: Mapping[str, Any]) -> dict[str, str]:
        key = kind, str(reference["name"])
        if key not in self._read:
            try:
                found = self._client.get(*key)
            except Absent:
                if not reference.get("optional"):
                    raise
                found = {}
            self._require_older(found)
            self._read[key] = plain_data(kind, found)
        return self._read[key]

    def _require_older(self, found: Object) -> None:
        """Raise CouldNotTell if its data was written after the container had started."""
        started = self._pod["status"]["containerStatuses"]
        began = next(one for one in started if one["name"] == self._container["name"])
        since = pod_facts.moment(began["state"]["running"]["startedAt"])
        for write in found.get("metadata", {}).get("managedFields", ()):
            wrote_data = {"f:data", "f:stringData"} & set(write.get("fieldsV1", {}))
            if wrote_data and "time" in write and pod_facts.moment(write["time"]) > since:
                raise CouldNotTell(
                    f"{found['kind']} {pod_facts.name_of(found)} was changed after "
                    f"{pod_facts.name_of(self._pod)} had started, which has what it said before",
                    hint="kubectl rollout restart gives pods what it says now",
                )


def plain_data(kind: str, found: Object) -> dict[str, str]:
    """What a ConfigMap or a Secret holds; what is no text is left out, as the kubelet does."""
    data = found.get("data") or {}
    if kind == "configmaps":
        return {str(name): str(value) for name, value in data.items()}
    decoded = {str(name): base64.b64decode(value) for name, value in data.items()}
    return {name: value.decode(errors="replace") for name, value in decoded.items()}


def expanded(text: str, values: Mapping[str, str]) -> str:
    """The text with `$(NAME)` as the values have it, as Kubernetes does: unknown ones stay, `$$` is `$`."""

    def one(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else values.get(match[2], match[0])

    return _REFERENCE.sub(one, text)


def field_of(pod: Object, path: str) -> str:
    """What the downward API gives for a path such as `metadata.labels['colour']`; empty if nothing."""
    head, bracket, key = path.partition("[")
    found: Any = pod
    for part in head.split("."):
        found = found.get(part, "") if isinstance(found, dict) else ""
    if bracket:
        found = found.get(key.rstrip("]").strip("'\""), "") if isinstance(found, dict) else ""
    return str(found)
