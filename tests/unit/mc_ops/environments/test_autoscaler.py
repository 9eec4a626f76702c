"""One HPA by the Kubernetes API: read it, list its events, set its window; and what can go wrong."""

from __future__ import annotations

import pytest
import yaml
from tests.fake_cluster import NAMESPACE, TOKEN, Cluster, hpa, rescaled

from mc_ops.environments.kubernetes import Autoscalers
from mc_ops.errors import CouldNotTell, NotAllowed, OpsError, UnusableInput

NAME = "agent-workbench"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    made = Cluster(tmp_path)
    made.hpas[NAME] = hpa()
    monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
    yield made
    made.stop()


def test_the_hpa_is_read_with_its_window(cluster):
    """What is not set is None, never the default."""
    found = Autoscalers().read(NAME)
    assert (found.name, found.namespace, found.window_s) == (NAME, NAMESPACE, None)
    assert not found.has_behavior
    cluster.hpas[NAME] = hpa(behavior={"scaleDown": {"stabilizationWindowSeconds": 120}})
    assert Autoscalers().read(NAME).window_s == 120


def test_only_this_hpa_s_events_are_listed(cluster):
    """The API server filters by the object's kind and name."""
    cluster.events = [
        rescaled("2026-01-01T00:00:00Z", 5),
        rescaled("2026-01-01T00:00:00Z", 9, name="other"),
    ]
    found = Autoscalers().events(NAME)
    assert [event["message"][:11] for event in found] == ["New size: 5"]
    assert type(found[0]["involvedObject"]) is dict


def test_the_patch_sets_the_window_and_nothing_else(cluster):
    """What else the HPA says stays as it is; what was done is read back."""
    policies = [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    cluster.hpas[NAME] = hpa(behavior={"scaleDown": {"policies": policies}})
    after = Autoscalers().set_window(NAME, 555, seen=None)
    assert after.window_s == 555
    body = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 555}}}}
    assert cluster.patches == [("application/merge-patch+json", body)]
    assert cluster.hpas[NAME]["spec"]["behavior"]["scaleDown"]["policies"] == policies
    assert cluster.hpas[NAME]["spec"]["maxReplicas"] == 20


def test_a_window_that_somebody_else_changed_meanwhile_is_left(cluster):
    """Nobody agreed to replace that one."""
    cluster.hpas[NAME] = hpa(behavior={"scaleDown": {"stabilizationWindowSeconds": 900}})
    with pytest.raises(CouldNotTell, match="is 900 s by now, it was not set"):
        Autoscalers().set_window(NAME, 555, seen=None)
    assert cluster.patches == []


def test_a_patch_that_does_not_hold_is_told(cluster):
    """200 alone is not believed."""
    cluster.ignores_patches = True
    with pytest.raises(CouldNotTell, match="patched to 555 s, but has not set when read back"):
        Autoscalers().set_window(NAME, 555, seen=None)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, NotAllowed, "does not know you"),
        (403, NotAllowed, "refuses: HTTP 403"),
        (404, CouldNotTell, 'no HorizontalPodAutoscaler "agent-workbench"'),
        (409, CouldNotTell, "changed by somebody else at the same moment"),
        (422, UnusableInput, "refuses it: told to fail: 422"),
        (500, CouldNotTell, "failed: HTTP 500"),
    ],
)
def test_a_refused_patch_says_why(cluster, status, kind, said):
    """Each answer becomes what the caller does next; the token is in none."""
    cluster.failures = {("PATCH", NAME): status}
    with pytest.raises(OpsError) as caught:
        Autoscalers().set_window(NAME, 555, seen=None)
    assert isinstance(caught.value, kind)
    assert said in caught.value.message
    assert TOKEN not in caught.value.message + caught.value.hint


def test_the_right_that_is_missing_is_named(cluster):
    """An operator has somebody grant it."""
    cluster.failures = {("GET", "/events"): 403}
    with pytest.raises(NotAllowed) as caught:
        Autoscalers().events(NAME)
    assert caught.value.hint.startswith("the right that is needed: list events;")


def test_an_absent_hpa_is_told_with_where_to_look(cluster):
    """A typo, or another namespace."""
    with pytest.raises(CouldNotTell) as caught:
        Autoscalers(namespace="prod").read("nothing")
    assert 'no HorizontalPodAutoscaler "nothing"' in caught.value.message
    assert "in the namespace prod" in caught.value.message
    assert "--namespace" in caught.value.hint


def test_a_credential_that_has_expired_is_no_missing_right(cluster):
    """Nobody can grant it: it said that `get /version` is needed."""
    cluster.failures = {("GET", "/version"): 401}
    with pytest.raises(NotAllowed) as caught:
        Autoscalers().read(NAME)
    assert "expired" in caught.value.message
    assert caught.value.hint.startswith("log in again")


@pytest.mark.parametrize(
    ("command", "args", "said"),
    [
        ("nobody-has-this", [], "names 'nobody-has-this', which is not there"),
        ("sh", ["-c", "echo a-secret; echo 'session is over' >&2; exit 1"], "failed: session is over"),
    ],
)  # fmt: skip
def test_a_login_program_that_fails_is_told(cluster, command, args, said):
    """As clouds have one: a session that was over ended in a traceback, as a defect of mcctl's own."""
    told = yaml.safe_load(cluster.kubeconfig.read_text())
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": args}
    for user in told["users"]:
        user["user"] = {"exec": login}
    cluster.kubeconfig.write_text(yaml.safe_dump(told))
    with pytest.raises(CouldNotTell) as caught:
        Autoscalers().read(NAME)
    assert said in caught.value.message
    assert "a-secret" not in caught.value.message


def test_a_context_that_is_not_there_is_named(cluster):
    """It said `ValueError`."""
    told = yaml.safe_load(cluster.kubeconfig.read_text())
    cluster.kubeconfig.write_text(yaml.safe_dump(told | {"current-context": "nowhere"}))
    with pytest.raises(CouldNotTell, match="Context nowhere not found"):
        Autoscalers().read(NAME)


def test_another_server_is_no_kubernetes_api(cluster):
    """kr8s asks for the version first."""
    cluster.failures = {("GET", "/version"): 404}
    with pytest.raises(CouldNotTell, match="no Kubernetes API"):
        Autoscalers().read(NAME)


def test_a_cluster_that_is_down_could_not_be_asked(cluster):
    """Exit 3, and not a traceback."""
    cluster.stop()
    with pytest.raises(CouldNotTell, match="does not answer"):
        Autoscalers().read(NAME)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"current-context": "nowhere"}'])
def test_a_broken_kubeconfig_is_told(cluster, text):
    """Whatever kr8s makes of it."""
    cluster.kubeconfig.write_text(text)
    with pytest.raises(CouldNotTell, match="Kubernetes"):
        Autoscalers().read(NAME)


def test_no_kubeconfig_is_told(tmp_path, monkeypatch):
    """Not every machine has a cluster."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(CouldNotTell, match="no Kubernetes cluster can be asked"):
        Autoscalers().read(NAME)


def test_an_unknown_context_is_told(cluster):
    """`--context` is taken as it is given."""
    with pytest.raises(CouldNotTell, match="no Kubernetes cluster can be asked"):
        Autoscalers(context="elsewhere").read(NAME)


@pytest.mark.parametrize("name", ["../secrets/x", "a,b=c", "UPPER", "", "a/b", "x" * 254, "a\n"])
def test_a_name_that_no_object_can_have_is_refused_before_it_is_sent(cluster, name):
    """It would become a part of the URL that is patched."""
    with pytest.raises(UnusableInput, match="no name of a HPA"):
        Autoscalers().set_window(name, 555, seen=None)
    with pytest.raises(UnusableInput, match="no name of a HPA"):
        Autoscalers().events(name)
    with pytest.raises(UnusableInput, match="no name of a namespace"):
        Autoscalers(namespace=name)
    assert [path for path in cluster.asked if "version" not in path] == []
