"""Read one HorizontalPodAutoscaler and its events, and set its downward window; by `kr8s`.

    autoscaler = Autoscalers(namespace="prod").read("agent-workbench")

Which cluster and which user: as `kubectl` has it ($KUBECONFIG, ~/.kube/config, or the pod's own
service account). Rights needed: get and patch of horizontalpodautoscalers, list of events.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mc_ops.environments.kubernetes.client import Client, Object, checked_name
from mc_ops.errors import CouldNotTell

_HPAS = "horizontalpodautoscalers"
_WINDOW = "stabilizationWindowSeconds"


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """An HPA as the API server has it.

    Attributes:
        spec: `spec` of `autoscaling/v2`.
        status: `status`, likewise.
        created_at: RFC 3339.
        uid: Its own; one that is made anew under the same name has another.
        changed_at: When somebody last changed its spec, RFC 3339; empty where the server does not say.
    """

    name: str
    namespace: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    created_at: str
    uid: str = ""
    changed_at: str = ""

    @property
    def window_s(self) -> int | None:
        """`spec.behavior.scaleDown.stabilizationWindowSeconds`; None where nothing is set."""
        behavior = self.spec.get("behavior") or {}
        found = (behavior.get("scaleDown") or {}).get(_WINDOW)
        return None if found is None else int(found)

    @property
    def has_behavior(self) -> bool:
        """Whether `spec.behavior` is there at all: if not, to undo a patch is to remove it."""
        return bool(self.spec.get("behavior"))


class Autoscalers:
    """The HPAs of one namespace; nothing is sent before the first call."""

    def __init__(self, *, namespace: str | None = None, context: str | None = None) -> None:
        """Make a client.

        Args:
            namespace: None: `MC_NAMESPACE`, else the context's own, else `default`.
            context: A context of the kubeconfig; None: the current one.

        Raises:
            UnusableInput: No namespace can have that name.
        """
        self._client = Client(
            namespace=os.environ.get("MC_NAMESPACE") or None if namespace is None else namespace,
            context=context,
            instead="; or give --events, --series, --prometheus",
        )

    @property
    def server(self) -> str:
        """The URL of the API server.

        Raises:
            CouldNotTell: No cluster can be asked.
        """
        return self._client.server

    def read(self, name: str) -> Autoscaler:
        """The HPA of that name.

        Raises:
            CouldNotTell: There is none, or the cluster cannot be asked.
            NotAllowed: The right to get it is missing, or the credential is refused.
        """
        return _read(self._client.get(_HPAS, name))

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events about that HPA which the cluster still has (an hour by default), as core/v1.

        Raises:
            CouldNotTell, NotAllowed: As `read`.
        """
        checked_name("HPA", name)
        selector = f"involvedObject.kind=HorizontalPodAutoscaler,involvedObject.name={name}"
        return self._client.objects("events", fields=selector)

    def set_window(self, name: str, seconds: int, *, seen: int | None) -> Autoscaler:
        """Set the downward window, and nothing else; then read it back.

        Args:
            name: Of the HPA.
            seconds: `stabilizationWindowSeconds`, 0 to 3600.
            seen: What `Autoscaler.window_s` was when somebody agreed to the change.

        Returns:
            The HPA as read back.

        Raises:
            CouldNotTell: It has another window by now, or was changed at the same moment (nothing
                was changed by this call then); or it does not have the new one when read back.
            NotAllowed: The right to patch it is missing.
            UnusableInput: The API server refuses the value.
        """
        now = self.read(name)
        if now.window_s != seen:
            raise CouldNotTell(
                f"the window of {name} is {_shown(now.window_s)} by now, it was {_shown(seen)}",
                hint="somebody else changed it meanwhile: look again",
            )
        window = {"behavior": {"scaleDown": {_WINDOW: seconds}}}
        self._client.patch(_HPAS, name, {"spec": window})
        after = self.read(name)
        if after.window_s != seconds:
            raise CouldNotTell(
                f"{name} was patched to {seconds} s, but has {_shown(after.window_s)} when read "
                "back",
                hint="something undoes it: an operator, or GitOps that owns the HPA's manifest",
            )
        return after


def _shown(window_s: int | None) -> str:
    return "not set" if window_s is None else f"{window_s} s"


def _read(raw: Object) -> Autoscaler:
    meta = raw["metadata"]
    return Autoscaler(
        name=str(meta["name"]),
        namespace=str(meta["namespace"]),
        spec=raw.get("spec") or {},
        status=raw.get("status") or {},
        created_at=str(meta.get("creationTimestamp") or ""),
        uid=str(meta.get("uid") or ""),
        changed_at=max(
            (
                str(one.get("time") or "")
                for one in meta.get("managedFields") or []
                if not one.get("subresource") and "f:spec" in (one.get("fieldsV1") or {})
            ),
            default="",
        ),
    )
