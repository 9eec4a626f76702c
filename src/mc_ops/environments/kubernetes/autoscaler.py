"""Read one HorizontalPodAutoscaler and its events, and set its downward window; by `kr8s`.

    autoscaler = Autoscalers(namespace="prod").read("agent-workbench")

Which cluster and which user: as `kubectl` has it ($KUBECONFIG, ~/.kube/config, or the pod's own
service account). Rights needed: get and patch of horizontalpodautoscalers, list of events.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from mc_ops.errors import CouldNotTell, NotAllowed, OpsError, UnusableInput

if TYPE_CHECKING:
    from kr8s import Api
    from kr8s.objects import HorizontalPodAutoscaler

_CLUSTER = "is this the right cluster? kubectl config current-context"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_WINDOW = "stabilizationWindowSeconds"


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """An HPA as the API server has it.

    Attributes:
        spec: `spec` of `autoscaling/v2`.
        status: `status`, likewise.
        created_at: RFC 3339.
    """

    name: str
    namespace: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    created_at: str

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
            namespace: None: the context's own, else `default`.
            context: A context of the kubeconfig; None: the current one.

        Raises:
            UnusableInput: No namespace can have that name.
        """
        self._namespace = None if namespace is None else checked_name("namespace", namespace)
        self._context = context
        self._made: Api | None = None

    @property
    def server(self) -> str:
        """The URL of the API server.

        Raises:
            CouldNotTell: No cluster can be asked.
        """
        return str(self._api().auth.server)

    def read(self, name: str) -> Autoscaler:
        """The HPA of that name.

        Raises:
            CouldNotTell: There is none, or the cluster cannot be asked.
            NotAllowed: The right to get it is missing, or the credential is refused.
        """
        found = self._object(name)
        with _told("get horizontalpodautoscalers", name):
            found.refresh()
            return _read(found)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events about that HPA which the cluster still has (an hour by default), as core/v1.

        Raises:
            CouldNotTell, NotAllowed: As `read`.
        """
        api = self._api()
        name = checked_name("HPA", name)
        with _told("list events", name):
            from kr8s.objects import Event

            selector = f"involvedObject.kind=HorizontalPodAutoscaler,involvedObject.name={name}"
            listed = Event.list(namespace=api.namespace, api=api, field_selector=selector)
            return [_plain(event) for event in listed]

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
        found = self._object(name)
        with _told("patch horizontalpodautoscalers", name):
            found.patch({"spec": {"behavior": {"scaleDown": {_WINDOW: seconds}}}})
        after = self.read(name)
        if after.window_s != seconds:
            raise CouldNotTell(
                f"{name} was patched to {seconds} s, but has {_shown(after.window_s)} when read "
                "back",
                hint="something undoes it: an operator, or GitOps that owns the HPA's manifest",
            )
        return after

    def _api(self) -> Api:
        """The client; to make it, kr8s asks for the cluster's version."""
        if self._made is None:
            with _told("get /version"):
                import kr8s

                # Named although it is kr8s's own default: it keeps clients by their arguments.
                self._made = kr8s.api(
                    kubeconfig=os.environ.get("KUBECONFIG") or None,
                    namespace=self._namespace,
                    context=self._context,
                )
        return self._made

    def _object(self, name: str) -> HorizontalPodAutoscaler:
        from kr8s.objects import HorizontalPodAutoscaler

        api = self._api()
        name = checked_name("HPA", name)
        meta = {"name": name, "namespace": api.namespace}
        return HorizontalPodAutoscaler({"metadata": meta}, api=api)


def checked_name(what: str, name: str) -> str:
    """The name, if an object can have it: names become parts of URLs and of selectors.

    Raises:
        UnusableInput: None can.
    """
    if not _NAME.fullmatch(name):
        raise UnusableInput(
            f"{name[:80]!r} is no name of a {what}",
            hint="lower-case letters, digits, `-` and `.`, at most 253",
        )
    return name


def _shown(window_s: int | None) -> str:
    return "not set" if window_s is None else f"{window_s} s"


def _plain(found: Any) -> dict[str, Any]:
    """The object as JSON has it: kr8s keeps it in boxes."""
    plain: dict[str, Any] = found.raw.to_dict()
    return plain


def _read(found: HorizontalPodAutoscaler) -> Autoscaler:
    raw = _plain(found)
    meta = raw["metadata"]
    return Autoscaler(
        name=str(meta["name"]),
        namespace=str(meta["namespace"]),
        spec=raw.get("spec") or {},
        status=raw.get("status") or {},
        created_at=str(meta.get("creationTimestamp") or ""),
    )


@contextlib.contextmanager
def _told(what: str, name: str = "") -> Iterator[None]:
    """Turn what kr8s raises into this program's errors; `what` is the right that it takes."""
    import kr8s

    try:
        yield
    except OpsError:
        raise
    except kr8s.NotFoundError as error:
        raise _absent(name) from error
    except kr8s.ServerError as error:
        raise _refused(error, what, name) from error
    except (kr8s.APITimeoutError, kr8s.ConnectionClosedError, httpx.HTTPError, OSError) as error:
        raise CouldNotTell(
            f"the Kubernetes API does not answer: {type(error).__name__}", hint=_CLUSTER
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        # What kr8s makes of no kubeconfig, a bad one, and of answers that are none of Kubernetes.
        raise CouldNotTell(
            f"no Kubernetes cluster can be asked: {type(error).__name__}",
            hint="kubectl config view shows what there is; or give --events, --series, --prometheus",
        ) from error


def _absent(name: str) -> CouldNotTell:
    if not name:
        return CouldNotTell("what answers is no Kubernetes API", hint=_CLUSTER)
    return CouldNotTell(
        f'there is no HorizontalPodAutoscaler "{name}" in this namespace',
        hint="kubectl get hpa --all-namespaces; then --hpa NAME, --namespace NAMESPACE",
    )


def _refused(error: Any, what: str, name: str) -> OpsError:
    status = error.response.status_code if error.response is not None else 0
    if status == httpx.codes.NOT_FOUND:
        return _absent(name)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return NotAllowed(
            f"the Kubernetes API refuses: HTTP {status}", hint=f"the right that is needed: {what}"
        )
    if status == httpx.codes.CONFLICT:
        return CouldNotTell(
            f"{name} was changed by somebody else at the same moment; nothing was changed here",
            hint="look again, and repeat",
        )
    if status in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY):
        return UnusableInput(f"the Kubernetes API refuses it: {error}")
    return CouldNotTell(f"the Kubernetes API failed: HTTP {status}", hint="try again")
