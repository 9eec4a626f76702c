"""`--env kubernetes`: the laws of environments, held by an operator with the rights of our Role alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.account import Account, entered
from tests.cluster.conftest import until
from tests.cluster.platform import SIDES, SIEM_KEY, Platform
from tests.contracts import environment_laws
from tests.contracts.environment_laws import *  # noqa: F403 - the laws are the tests

from mc_ops.environments import Colour, Environment, Holder, LogFilter, open_environment
from mc_ops.environments.faults import Faults
from mc_ops.environments.kubernetes import Client, allowed, role
from mc_ops.environments.kubernetes.rights import RIGHTS, RIGHTS_OF, Right
from mc_ops.errors import NotAllowed

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(600)]

STILL = {"scaleUp": {"selectPolicy": "Disabled"}, "scaleDown": {"selectPolicy": "Disabled"}}
# Green's pods end at once: how long a drain takes is told elsewhere
QUICK = {
    "minReadySeconds": 0,
    "template": {
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "agent-workbench",
                    "lifecycle": {"preStop": {"sleep": {"seconds": 0}}},
                    "readinessProbe": {"periodSeconds": 1},
                }
            ],
        }
    },
}


@pytest.fixture(scope="module")
def operator(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An operator with our Role, and no other right; one blue replica, held still."""
    account = Account(platform, "an-operator", tmp_path_factory.mktemp("rights"))
    try:
        account.given()
        patch = json.dumps({"spec": {"minReplicas": 1, "behavior": STILL}})
        for side in SIDES.values():
            platform.kubectl("patch", "hpa", side, "--type=merge", "-p", patch)
        quick = json.dumps({"spec": QUICK})
        platform.kubectl("patch", "deployment", SIDES["green"], "-p", quick)
        with pytest.MonkeyPatch.context() as monkeypatch:
            entered(monkeypatch, account.env)
            opened = open_environment("kubernetes")
            opened.scale(Colour.blue, 1)
            yield account
            opened.scale(Colour.green, 0, faults=Faults())
            platform.restore()
            opened.scale(Colour.blue, 3)
    finally:
        account.gone()
        platform.kubectl("delete", "lease", "--all")


@pytest.fixture(scope="module")
def opened(operator: Account) -> Environment:
    """As mcctl opens it."""
    del operator
    return open_environment("kubernetes")


@pytest.fixture
def environment(opened: Environment) -> Iterator[Environment]:
    """One blue replica serves, before and after, and nothing else runs."""
    yield from environment_laws.restored(opened)


def test_status_tells_each_pod_and_no_neighbour(opened: Environment, platform: Platform) -> None:
    """By the pods' own word; the namespaces of neighbours are not the operator's."""
    found = opened.status()
    [blue] = found.processes
    assert (blue.colour, blue.health, blue.port) == (Colour.blue, "ok", 8080)
    assert (blue.pid, blue.restarts) == (None, 0)
    assert (found.active_colour, found.url) == (Colour.blue, platform.url())


def test_settings_catalogue_and_logs_are_the_pod_s(opened: Environment) -> None:
    """The pod says the same of itself."""
    [blue] = opened.instances(Colour.blue)
    settings = opened.settings(blue.name)
    assert (settings["MC_REPLICA"], settings["MC_COLOUR"]) == (blue.name, "blue")
    assert settings["AUDIT_SIEM_KEY"] == SIEM_KEY
    assert len(opened.catalogue_digest()) == 64
    following = opened.logs([blue.name], LogFilter(lines=1, follow=True))
    assert next(iter(following)).name == blue.name
    following.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("command", "codes", "says"),
    [
        ("mcctl cost --env kubernetes", (0, 1, 3), "used by all replicas"),  # of few events
        # One replica of three is a missed target, on a platform that is well otherwise, too
        ("mcctl slo status --env kubernetes --only replicas", (1,), "missed   replicas"),
        ("mcctl slo status --env kubernetes --only a2a-success", (0, 3), "A2A success"),
        ("mcctl audit verify", (0,), "verif"),
        ("mcctl preflight rights --env kubernetes", (0,), "patch services agent-workbench"),
        ("kubectl rollout status deployment/agent-workbench --timeout=60s", (0,), "successfully"),
    ],
    ids=lambda words: words if "mcctl" in words or "kubectl" in words else "",
)
def test_an_operator_reads_and_checks(
    operator: Account, platform: Platform, command: str, codes: tuple[int, ...], says: str
) -> None:
    """With the operator's files, as the docs have them."""
    operator.env["MC_URL"] = platform.url()
    done = operator.run(*command.split())
    assert done.returncode in codes, done.stdout + done.stderr
    assert says in done.stdout + done.stderr, done


def test_an_administrator_s_command_runs_in_a_pod_that_goes(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the Role for that, which no operator has; what the command says comes back."""
    account = Account(platform, "an-administrator", tmp_path)
    try:
        account.given("--for", "administrator")
        entered(monkeypatch, account.env)
        done = open_environment("kubernetes").administer(
            "repair", "--reason", "to see what there is", "--dry-run"
        )
        assert done.returncode == 0, done
        ours = ("-l", "app.kubernetes.io/managed-by=mcctl", "--field-selector=status.phase=Running")
        until(lambda: not platform.read("pods", *ours)["items"])
    finally:
        account.gone()


def test_each_right_that_is_missing_is_told_by_name(platform: Platform) -> None:
    """Every right is taken from one of a few users, and the pre-flight names what each lacks, and no more."""
    group, users = "rbac.authorization.k8s.io", 6
    lacking = {
        f"{holder}-{number}": (holder, RIGHTS_OF[holder][number::users])
        for holder in (Holder.operator, Holder.administrator)
        for number in range(users)
    }
    assert sum(len(rights) for _, rights in lacking.values()) == len(RIGHTS) + 6
    made: list[dict[str, Any]] = []
    for user, (holder, rights) in lacking.items():
        whole = role(platform.name, holder)
        meta = {"metadata": {"name": user, "labels": {"story": "rights"}}}
        rules = [one for rule in whole["rules"] if (one := without(rule, rights))["verbs"]]
        made.append({**whole, **meta, "rules": rules})
        binding = {
            "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        made.append({"apiVersion": f"{group}/v1", "kind": "RoleBinding", **meta, **binding})
    platform.apply(*made)
    try:
        for user, (holder, rights) in lacking.items():
            wanted = [str(right) for right in rights]
            until(lambda user=user, to=holder, of=wanted: told(platform, user, to) == of, 30)
    finally:
        platform.kubectl("delete", "rolebinding,role", "-l", "story=rights")


def without(rule: dict[str, Any], rights: Sequence[Right]) -> dict[str, Any]:
    """A rule of a Role without some rights."""
    of = (rule["resources"], rule["apiGroups"], rule.get("resourceNames", []))
    taken = {one.verb for one in rights if ([one.resource], [one.api], list(one.names)) == of}
    return {**rule, "verbs": [verb for verb in rule["verbs"] if verb not in taken]}


def told(platform: Platform, user: str, holder: Holder) -> list[str]:
    """The rights that a user lacks, by the pre-flight's word."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        entered(monkeypatch, platform.env)
        client = Client(namespace=platform.name)
        session = client._api()._session
        assert session is not None
        session.headers["Impersonate-User"] = user
        try:
            return [str(right) for right, missing in allowed(client, holder) if missing]
        finally:
            del session.headers["Impersonate-User"]


def test_who_has_no_right_is_told_which(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the pre-flight all of them, at a verb the one that it lacks."""
    nobody = Account(platform, "nobody", tmp_path)
    try:
        refused = nobody.run(
            *("mcctl", "preflight", "rights", "--env", "kubernetes", "--output", "json")
        )
        checks = json.loads(refused.stdout)["checks"]
        assert refused.returncode == 1
        assert {one["status"] for one in checks} == {"fail"}
        assert {one["name"] for one in checks} == set(map(str, RIGHTS))
        entered(monkeypatch, nobody.env)
        with pytest.raises(NotAllowed) as caught:
            open_environment("kubernetes").status()
        assert "list pods" in (caught.value.hint or "")
    finally:
        nobody.gone()
