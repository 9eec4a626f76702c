"""Pod Security Standards, profile `restricted` as of Kubernetes 1.37: its 19 checks on pods.

The names are those of the admission plugin. Four checks of the profile `baseline` are implied by
stricter ones of `restricted`; they are made all the same, for what they find is worse. What the
API's types would refuse (a text for a boolean) counts as a violation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mc_ops.preflight.kubernetes.findings import ELSEWHERE, Finding, results
from mc_ops.preflight.kubernetes.manifests import Object, mapping, sequence
from mc_ops.preflight.kubernetes.workloads import Pod
from mc_ops.preflight.result import CheckResult, unknown

_Found = Iterator[tuple[str, str, str]]
_PROFILES = ("RuntimeDefault", "Localhost")
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SELINUX_TYPES = (
    *("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"),
)
_SYSCTLS = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
        "net.ipv4.tcp_slow_start_after_idle",
        "net.ipv4.tcp_notsent_lowat",
    ]
)
_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_ENFORCE = "pod-security.kubernetes.io/enforce"


def check_pod_security(pods: Sequence[Pod], objects: Iterable[Object]) -> list[CheckResult]:
    """Every check on every pod, then the labels of their namespaces.

    Args:
        pods: Of what `pods_of` found; none at all is no pass.
        objects: Among which their namespaces are.
    """
    if not pods:
        return [unknown("pod-security", "there is no workload", ELSEWHERE)]
    good = f"{len(pods)} pods and templates of pods"
    return [
        *(one for name in CHECKS for one in results(name, violations(name, pods), good)),
        *namespaces_enforce(pods, objects),
    ]


def violations(name: str, pods: Iterable[Pod]) -> Iterator[Finding]:
    """What one check finds."""
    for pod in pods:
        for field, why, fix in CHECKS[name](pod):
            yield Finding(str(pod.owner), field, why, fix)


def namespaces_enforce(pods: Iterable[Pod], objects: Iterable[Object]) -> Iterator[CheckResult]:
    """Each namespace that has pods enforces the profile, as its labels say."""
    name = "namespace-enforces-restricted"
    known = {one.name: one for one in objects if one.kind == "Namespace"}
    for namespace in sorted({pod.owner.namespace for pod in pods}):
        found = known.get(namespace)
        if found is None:
            why = f"the Namespace {namespace} is not among the manifests"
            yield unknown(name, why, "add it to them, or check on the cluster")
            continue
        labels = mapping(found.metadata.get("labels"), "labels", found)
        level, version = labels.get(_ENFORCE), labels.get(f"{_ENFORCE}-version", "latest")
        field = f"metadata.labels[{_ENFORCE}]"
        wrong = []
        if level != "restricted":
            why = f"is {level!r}: pods that violate the profile are admitted"
            wrong.append(Finding(f"Namespace {namespace}", field, why, f"{_ENFORCE}: restricted"))
        elif version != "latest":
            why = f"is {version!r}: checks that came later are not made"
            fix = f"{_ENFORCE}-version: latest"
            wrong.append(Finding(f"Namespace {namespace}", f"{field}-version", why, fix))
        yield from results(name, wrong, f"{namespace} enforces restricted, latest")


def _is_windows(pod: Pod) -> bool:
    return pod.of("os", pod.spec).get("name") == "windows"


def _has_own_users(pod: Pod) -> bool:
    return pod.spec.get("hostUsers") is False


def _none_of(fields: Iterable[tuple[str, Any]], fix: str) -> _Found:
    for field, value in fields:
        if value not in (None, False):
            yield field, f"is {value!r}", fix


def _app_armor(pod: Pod) -> _Found:
    fix = "RuntimeDefault or Localhost, or leave it out"
    for field, context in pod.contexts():
        profile = context.get("appArmorProfile")
        if profile is not None:
            kind = pod.of("appArmorProfile", context).get("type")
            if kind not in _PROFILES:
                yield f"{field}.appArmorProfile.type", f"is {kind!r}", fix
    for key, value in pod.of("annotations", pod.metadata).items():
        if key.startswith(_APP_ARMOR) and not (
            value in ("", "runtime/default") or str(value).startswith("localhost/")
        ):
            yield (
                f"metadata.annotations[{key}]",
                f"is {value!r}",
                "runtime/default or localhost/...",
            )


def _added(pod: Pod, allowed: frozenset[str]) -> _Found:
    for field, container in pod.containers():
        given = pod.of("capabilities", pod.of("securityContext", container))
        added = sequence(given.get("add"), "add", pod.owner)
        bad = [one for one in added if not isinstance(one, str) or one not in allowed]
        if bad:
            fix = f"leave it out; {', '.join(sorted(allowed))} may be added"
            listed = ", ".join(map(str, bad))
            yield f"{field}.securityContext.capabilities.add", f"adds {listed}", fix


def _capabilities_baseline(pod: Pod) -> _Found:
    return _added(pod, _CAPABILITIES)


def _capabilities_restricted(pod: Pod) -> _Found:
    if _is_windows(pod):
        return
    for field, container in pod.containers():
        given = pod.of("capabilities", pod.of("securityContext", container))
        if "ALL" not in sequence(given.get("drop"), "drop", pod.owner):
            where = f"{field}.securityContext.capabilities.drop"
            yield where, "does not have ALL", 'drop: ["ALL"]'
    yield from _added(pod, frozenset({"NET_BIND_SERVICE"}))


def _host_namespaces(pod: Pod) -> _Found:
    names = ("hostNetwork", "hostPID", "hostIPC")
    fields = ((f"{pod.path}.{name}", pod.spec.get(name)) for name in names)
    return _none_of(fields, "false, or leave it out")


def _volumes(pod: Pod) -> Iterator[tuple[str, set[str]]]:
    for place, volume in enumerate(pod.list_of("volumes", pod.spec)):
        kinds = {kind for kind, value in volume.items() if kind != "name" and value is not None}
        yield f"{pod.path}.volumes[{place}]", kinds


def _host_path_volumes(pod: Pod) -> _Found:
    for field, kinds in _volumes(pod):
        if "hostPath" in kinds:
            yield (
                f"{field}.hostPath",
                "is a path of the node",
                "a persistentVolumeClaim, or emptyDir",
            )


def _restricted_volumes(pod: Pod) -> _Found:
    for field, kinds in _volumes(pod):
        if kinds and not kinds & _VOLUMES:  # of no kind, the API makes it an emptyDir
            told = ", ".join(sorted(kinds))
            yield field, f"is of the kind {told}", f"one of {', '.join(sorted(_VOLUMES))}"


def _host_ports(pod: Pod) -> _Found:
    for field, container in pod.containers():
        for place, port in enumerate(pod.list_of("ports", container)):
            if port.get("hostPort") not in (None, 0):
                where = f"{field}.ports[{place}].hostPort"
                yield where, f"is {port['hostPort']!r}", "leave it out; a Service reaches the pod"


def _probe_hosts(pod: Pod) -> _Found:
    for field, container in pod.containers():
        handlers = [(name, pod.of(name, container)) for name in _PROBES]
        lifecycle = pod.of("lifecycle", container)
        hooks = ("postStart", "preStop")
        handlers += [(f"lifecycle.{name}", pod.of(name, lifecycle)) for name in hooks]
        for name, handler in handlers:
            for action in ("httpGet", "tcpSocket"):
                host = pod.of(action, handler).get("host")
                if host not in (None, ""):
                    where = f"{field}.{name}.{action}.host"
                    yield where, f"is {host!r}", "leave it out: the pod itself is asked"


def _privileged(pod: Pod) -> _Found:
    fields = (
        (f"{field}.securityContext.privileged", pod.of("securityContext", one).get("privileged"))
        for field, one in pod.containers()
    )
    return _none_of(fields, "false, or leave it out")


def _proc_mount(pod: Pod) -> _Found:
    for field, container in pod.containers():
        kind = pod.of("securityContext", container).get("procMount")
        if kind not in (None, "Default"):
            yield f"{field}.securityContext.procMount", f"is {kind!r}", "Default, or leave it out"


def _proc_mount_baseline(pod: Pod) -> _Found:
    return iter(()) if _has_own_users(pod) else _proc_mount(pod)


def _selinux(pod: Pod) -> _Found:
    for field, context in pod.contexts():
        options = pod.of("seLinuxOptions", context)
        if options.get("type", "") not in (None, *_SELINUX_TYPES):
            fix = f"one of {', '.join(filter(None, _SELINUX_TYPES))}"
            yield f"{field}.seLinuxOptions.type", f"is {options['type']!r}", fix
        for name in ("user", "role"):
            if options.get(name) not in (None, ""):
                where = f"{field}.seLinuxOptions.{name}"
                yield where, f"is {options[name]!r}", "leave it out"


def _seccomp_baseline(pod: Pod) -> _Found:
    for field, context in pod.contexts():
        if context.get("seccompProfile") is not None:
            kind = pod.of("seccompProfile", context).get("type")
            if kind not in _PROFILES:
                where = f"{field}.seccompProfile.type"
                yield where, f"is {kind!r}", "RuntimeDefault or Localhost"


def _seccomp_restricted(pod: Pod) -> _Found:
    if _is_windows(pod):
        return
    yield from _seccomp_baseline(pod)
    (_, of_pod), *of_containers = pod.contexts()
    if pod.of("seccompProfile", of_pod).get("type") in _PROFILES:
        return
    for field, context in of_containers:
        if context.get("seccompProfile") is None:
            where = f"{field}.seccompProfile"
            yield where, "is set neither here nor for the pod", "type: RuntimeDefault"


def _sysctls(pod: Pod) -> _Found:
    context = pod.of("securityContext", pod.spec)
    for place, one in enumerate(pod.list_of("sysctls", context)):
        if not isinstance(one.get("name"), str) or one["name"] not in _SYSCTLS:
            field = f"{pod.path}.securityContext.sysctls[{place}].name"
            yield field, f"is {one.get('name')!r}", "leave it out: only safe sysctls may be set"


def _host_process(pod: Pod) -> _Found:
    fields = (
        (f"{field}.windowsOptions.hostProcess", pod.of("windowsOptions", one).get("hostProcess"))
        for field, one in pod.contexts()
    )
    return _none_of(fields, "false, or leave it out")


def _privilege_escalation(pod: Pod) -> _Found:
    if _is_windows(pod):
        return
    for field, container in pod.containers():
        value = pod.of("securityContext", container).get("allowPrivilegeEscalation")
        if value is not False:
            where = f"{field}.securityContext.allowPrivilegeEscalation"
            yield where, "is not set" if value is None else f"is {value!r}", "false"


def _run_as_non_root(pod: Pod) -> _Found:
    if _has_own_users(pod):
        return
    (pod_field, of_pod), *of_containers = pod.contexts()
    for_all = of_pod.get("runAsNonRoot")
    if for_all not in (None, True):
        yield f"{pod_field}.runAsNonRoot", f"is {for_all!r}", "true"
    for field, context in of_containers:
        value = context.get("runAsNonRoot")
        if value is None and for_all is not True:
            yield f"{field}.runAsNonRoot", "is set neither here nor for the pod", "true"
        elif value not in (None, True):
            yield f"{field}.runAsNonRoot", f"is {value!r}", "true, or leave it out"


def _run_as_user(pod: Pod) -> _Found:
    if _has_own_users(pod):
        return
    for field, context in pod.contexts():
        value = context.get("runAsUser")
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not value
        ):
            yield f"{field}.runAsUser", f"is {value!r}", "a user that is not 0"


CHECKS: Mapping[str, Callable[[Pod], _Found]] = {
    "appArmorProfile": _app_armor,
    "capabilities_baseline": _capabilities_baseline,
    "hostNamespaces": _host_namespaces,
    "hostPathVolumes": _host_path_volumes,
    "hostPorts": _host_ports,
    "hostProbesAndHostLifecycle": _probe_hosts,
    "privileged": _privileged,
    "procMount": _proc_mount_baseline,
    "seLinuxOptions": _selinux,
    "seccompProfile_baseline": _seccomp_baseline,
    "sysctls": _sysctls,
    "windowsHostProcess": _host_process,
    "allowPrivilegeEscalation": _privilege_escalation,
    "capabilities_restricted": _capabilities_restricted,
    "procMount_restricted": _proc_mount,
    "restrictedVolumes": _restricted_volumes,
    "runAsNonRoot": _run_as_non_root,
    "runAsUser": _run_as_user,
    "seccompProfile_restricted": _seccomp_restricted,
}
"""The plugin's id of each check, baseline's first, and what makes it."""
