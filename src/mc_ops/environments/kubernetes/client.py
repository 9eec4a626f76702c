"""The Kubernetes API by `kr8s`: objects as JSON has them, and errors as this program has them.

    client = Client(namespace="prod")
    service = client.get("services", "agent-workbench")

Which cluster and which user: as `kubectl` has it ($KUBECONFIG, ~/.kube/config, or the pod's own
service account). Resources have the names that RBAC has, so that an error names the right to grant.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import httpx
import yaml

from mc_ops.errors import CouldNotTell, NotAllowed, OpsError, UnusableInput

if TYPE_CHECKING:
    from kr8s import Api

Object = dict[str, Any]

# By the name that RBAC has: the kind, and its API
RESOURCES: Final = {
    "configmaps": ("ConfigMap", "v1"),
    "deployments": ("Deployment", "apps/v1"),
    "endpointslices": ("EndpointSlice", "discovery.k8s.io/v1"),
    "events": ("Event", "v1"),
    "horizontalpodautoscalers": ("HorizontalPodAutoscaler", "autoscaling/v2"),
    "jobs": ("Job", "batch/v1"),
    "leases": ("Lease", "coordination.k8s.io/v1"),
    "pods": ("Pod", "v1"),
    "replicasets": ("ReplicaSet", "apps/v1"),
    "secrets": ("Secret", "v1"),
    "selfsubjectaccessreviews": ("SelfSubjectAccessReview", "authorization.k8s.io/v1"),
    "services": ("Service", "v1"),
}
_CLUSTER = "is this the right cluster? kubectl config current-context"
_RIGHTS = "mcctl preflight rights --env kubernetes shows all that are missing"
_REASONS = re.compile(
    r"Unable to find valid credentials|No valid kubeconfig provided|(Context|Cluster|User) \S{1,200} not found"
)
_PLUGIN = "Process exited with non-zero code"
_MOST_SAID = 300
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_TIMEOUT_S = 20.0


class Client:
    """One namespace of one cluster; nothing is sent before the first call.

    Every method raises NotAllowed where a right is missing, naming it, and CouldNotTell where the
    cluster cannot be asked.
    """

    def __init__(
        self, *, namespace: str | None = None, context: str | None = None, instead: str = ""
    ) -> None:
        """Make a client.

        Args:
            namespace: None: the context's own, else `default`.
            context: A context of the kubeconfig; None: the current one.
            instead: What an error tells to do where there is no cluster.

        Raises:
            UnusableInput: No namespace can have that name.
        """
        self._namespace = None if namespace is None else checked_name("namespace", namespace)
        self._context = context
        self._instead = instead
        self._made: Api | None = None

    @classmethod
    def from_env(cls, namespace: str | None = None) -> Client:
        """Of that namespace; else of `MC_NAMESPACE`; else of kubectl's context.

        Raises:
            UnusableInput: No namespace can have that name.
        """
        return cls(namespace=namespace or os.environ.get("MC_NAMESPACE") or None)

    @property
    def namespace(self) -> str:
        """The namespace that is looked at."""
        return str(self._api().namespace)

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return str(self._api().auth.server)

    def get(self, resource: str, name: str, *, namespace: str | None = None) -> Object:
        """The object of that name; of the client's namespace if no other is given.

        Raises:
            Absent: There is none.
        """
        found = self._named(resource, name, namespace)
        with self._told("get", resource, name, namespace):
            found.refresh()
            return _plain(found)

    def find(self, resource: str, name: str) -> Object | None:
        """The object of that name; None if there is none."""
        try:
            return self.get(resource, name)
        except Absent:
            return None

    def objects(
        self,
        resource: str,
        *,
        labels: Mapping[str, str] | None = None,
        fields: str = "",
        namespace: str | None = None,
    ) -> list[Object]:
        """The objects that have all these labels, and that a field selector selects."""
        api = self._api()
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        with self._told("list", resource):
            listed = _class(resource).list(
                api=api,
                namespace=namespace or api.namespace,
                label_selector=selector or None,
                field_selector=fields or None,
            )
            return [_plain(found) for found in listed]

    def create(self, resource: str, body: Object) -> Object:
        """Make an object; of a review it is the answer.

        Raises:
            CouldNotTell: There is one of that name.
        """
        made = _class(resource)(body, namespace=self.namespace, api=self._api())
        with self._told("create", resource, str(body.get("metadata", {}).get("name", ""))):
            made.create()
            return _plain(made)

    def patch(
        self,
        resource: str,
        name: str,
        body: Object | list[Object],
        *,
        subresource: str = "",
    ) -> Object:
        """Change an object by a merge patch, or by a JSON patch if `body` is a list.

        Raises:
            CouldNotTell: It was changed at the same moment (`metadata.resourceVersion` in the
                patch, or a `test` of a JSON patch), or there is none.
            UnusableInput: The API server refuses what is asked.
        """
        found = self._named(resource, name)
        right = f"{resource}/{subresource}" if subresource else resource
        kind = "json" if isinstance(body, list) else None
        with self._told("patch", right, name):
            found.patch(body, subresource=subresource or None, type=kind)
            return _plain(found)

    def delete(self, resource: str, name: str, *, foreground: bool = False) -> bool:
        """Delete an object; false if there was none. In the foreground its own go first."""
        found = self._named(resource, name)
        try:
            with self._told("delete", resource, name):
                found.delete(propagation_policy="Foreground" if foreground else "Background")
        except Absent:
            return False
        return True

    def log(self, pod: str, **options: Any) -> Iterator[str]:
        """Lines of a pod's log; `options` as those of `kr8s.objects.Pod.logs`."""
        from kr8s.objects import Pod

        found = Pod(_metadata(self.namespace, pod), api=self._api())
        with self._told("get", "pods/log", pod):
            yield from found.logs(**options)

    def _api(self) -> Api:
        """The client; to make it, kr8s asks for the cluster's version."""
        if self._made is None:
            with self._told("get", "/version"):
                import kr8s

                # It warns of every release of Kubernetes that is newer than itself
                warnings.filterwarnings("ignore", message="Kubernetes version", module="kr8s")
                # Named although it is kr8s's own default: it keeps clients by their arguments.
                self._made = kr8s.api(
                    kubeconfig=os.environ.get("KUBECONFIG") or None,
                    namespace=self._namespace,
                    context=self._context,
                )
                self._made.timeout = _TIMEOUT_S
                if self._made._session is not None:  # the user agent is who manages a field
                    self._made._session.headers["User-Agent"] = "mcctl"
        return self._made

    def _named(self, resource: str, name: str, namespace: str | None = None) -> Any:
        kind, _ = RESOURCES[resource]
        checked_name("HPA" if kind == "HorizontalPodAutoscaler" else kind, name)
        where = self.namespace if namespace is None else checked_name("namespace", namespace)
        return _class(resource)(_metadata(where, name), api=self._api())

    @contextlib.contextmanager
    def _told(
        self, verb: str, resource: str, name: str = "", namespace: str | None = None
    ) -> Iterator[None]:
        """Turn what kr8s raises into this program's errors."""
        import kr8s

        try:
            yield
        except OpsError:
            raise
        except kr8s.NotFoundError as error:
            raise self._absent(resource, name, namespace) from error
        except kr8s.ServerError as error:
            if getattr(error.response, "status_code", 0) == httpx.codes.NOT_FOUND:
                raise self._absent(resource, name, namespace) from error
            raise _refused(error, verb, resource, name) from error
        except FileNotFoundError as error:  # of a program or a file that the kubeconfig names
            raise CouldNotTell(
                f"the kubeconfig names {error.filename!r}, which is not there",
                hint="install it, or mend the user's entry: kubectl config view --minify",
            ) from error
        except (
            kr8s.APITimeoutError,
            kr8s.ConnectionClosedError,
            httpx.HTTPError,
            OSError,
        ) as error:
            raise CouldNotTell(
                f"{self._where()} does not answer: {type(error).__name__}", hint=_CLUSTER
            ) from error
        except RuntimeError as error:
            raise _not_logged_in(error) from error
        except (ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
            # What kr8s makes of no kubeconfig, a bad one, and of answers that are none of Kubernetes.
            known = _REASONS.fullmatch(str(error))  # another text may show a part of the file
            raise CouldNotTell(
                f"no Kubernetes cluster can be asked: {known[0] if known else type(error).__name__}",
                hint=f"kubectl config view shows what there is{self._instead}",
            ) from error

    def _where(self) -> str:
        """What is asked, as far as it is known."""
        return "the Kubernetes API" + (f" at {self._made.auth.server}" if self._made else "")

    def _absent(self, resource: str, name: str, namespace: str | None) -> CouldNotTell:
        if not name:
            return CouldNotTell("what answers is no Kubernetes API", hint=_CLUSTER)
        plural = resource.partition("/")[0]
        return Absent(
            f'there is no {RESOURCES[plural][0]} "{name}" in the namespace {namespace or self.namespace}',
            hint=f"kubectl get {plural} --all-namespaces; then --namespace NAMESPACE, or MC_NAMESPACE",
        )


class Absent(CouldNotTell):
    """There is no object of that name."""


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


def _class(resource: str) -> Any:
    from kr8s.objects import new_class

    kind, version = RESOURCES[resource]
    namespaced = resource != "selfsubjectaccessreviews"
    return new_class(kind, version, asyncio=False, namespaced=namespaced, plural=resource)


def _metadata(namespace: str, name: str) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}}


def _plain(found: Any) -> Object:
    """The object as JSON has it: kr8s keeps it in boxes."""
    plain: Object = found.raw.to_dict()
    return plain


def _not_logged_in(error: RuntimeError) -> CouldNotTell:
    """What kr8s makes of a login program of the kubeconfig that fails: a session that is over, mostly."""
    if not str(error).startswith(_PLUGIN):
        raise error
    said = str(error).strip().rpartition("\n")[2][:_MOST_SAID]
    return CouldNotTell(
        f"the login program that the kubeconfig names failed: {said}",
        hint="log in again, so that kubectl get pods works, and repeat",
    )


def _refused(error: Any, verb: str, resource: str, name: str) -> OpsError:
    status = error.response.status_code if error.response is not None else 0
    if status == httpx.codes.UNAUTHORIZED:
        return NotAllowed(
            "the Kubernetes API does not know you: the credential of the kubeconfig has expired or is wrong",
            hint="log in again; kubectl auth whoami says whom it knows, kubectl config view --minify who is sent",
        )
    if status == httpx.codes.FORBIDDEN:
        return NotAllowed(
            f"the Kubernetes API refuses: HTTP {status}",
            hint=f"the right that is needed: {verb} {resource}; {_RIGHTS}",
        )
    if status == httpx.codes.CONFLICT:
        return CouldNotTell(
            f"{name} was changed by somebody else at the same moment; nothing was changed here",
            hint="look again, and repeat",
        )
    if status in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY):
        return UnusableInput(f"the Kubernetes API refuses it: {error}")
    return CouldNotTell(f"the Kubernetes API failed: HTTP {status}", hint="try again")
