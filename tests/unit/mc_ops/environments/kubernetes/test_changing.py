"""What is made of objects of a cluster when a side is changed: templates, bounds, the lock."""

from __future__ import annotations

import copy
import itertools
import threading

import pytest

from mc_ops.environments import Colour
from mc_ops.environments.faults import Faults
from mc_ops.environments.kubernetes import hold, lease
from mc_ops.environments.kubernetes.administration import administer, pod_of
from mc_ops.environments.kubernetes.client import Absent
from mc_ops.environments.kubernetes.fresh_baseline import baseline_of, is_ours
from mc_ops.environments.kubernetes.names import COLOUR, HELD
from mc_ops.environments.kubernetes.scaling import Scaling, with_faults
from mc_ops.errors import CouldNotTell, UnusableInput


class Objects:
    """Objects by resource and name, as a client has them; a patch of an old version is refused."""

    def __init__(self, **objects):
        self.kept = objects
        self.versions = itertools.count(1)
        self.lock = threading.Lock()

    def find(self, resource, name):
        with self.lock:
            return copy.deepcopy(self.kept.get(resource, {}).get(name))

    def get(self, resource, name):
        found = self.find(resource, name)
        if found is None:
            raise Absent(name)
        return found

    def create(self, resource, body):
        with self.lock:
            of_kind = self.kept.setdefault(resource, {})
            if body["metadata"]["name"] in of_kind:
                raise CouldNotTell("there is one")
            made = copy.deepcopy(body)
            made["metadata"]["resourceVersion"] = str(next(self.versions))
            of_kind[made["metadata"]["name"]] = made
            return made

    def patch(self, resource, name, body):
        with self.lock:
            found = self.kept[resource][name]
            if isinstance(body, list):
                for one in body:
                    _, part, key = one["path"].split("/")
                    if one["op"] == "test" and found[part].get(key) != one["value"]:
                        raise UnusableInput("test failed")
                    if one["op"] == "replace":
                        found[part][key] = one["value"]
            else:
                version = body.get("metadata", {}).get("resourceVersion")
                if version not in (None, found["metadata"].get("resourceVersion")):
                    raise CouldNotTell("a conflict")
                merge(found, body)
            found["metadata"]["resourceVersion"] = str(next(self.versions))
            return copy.deepcopy(found)


def merge(target, patch):
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value


class Side:
    """A reading of a platform whose blue side serves."""

    def active_colour(self):
        return Colour.blue


def deployment(name="agent-workbench", colour="blue", *, replicas=3, env=()):
    colours = {"fieldRef": {"fieldPath": f"metadata.labels['{COLOUR}']"}}
    labels = {"app.kubernetes.io/name": "agent-workbench", COLOUR: colour}
    container = {
        "name": "agent-workbench",
        "image": "agent-workbench@sha256:1",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {},
        "env": [{"name": "MC_COLOUR", "valueFrom": colours}, *env],
        "securityContext": {"readOnlyRootFilesystem": True},
    }
    return {
        "metadata": {"name": name, "uid": "u", "generation": 4, "labels": labels},
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
        "status": {
            "observedGeneration": 4,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
        },
    }


def hpa(least=3, most=8, **annotations):
    meta = {"name": "agent-workbench", "annotations": annotations}
    return {"metadata": meta, "spec": {"minReplicas": least, "maxReplicas": most}}


def env_of(template):
    return {one["name"]: one.get("value") for one in template["spec"]["containers"][0]["env"]}


def test_the_fresh_baseline_is_what_serves_where_no_service_leads():
    """It announces the colour that serves; the colour of its label is selected by nobody."""
    fault = {"name": "MC_FAULT_SLOW_FACTOR", "value": "2"}
    serving = deployment(env=[fault])
    made = baseline_of(serving, Colour.blue, {})
    template = made["spec"]["template"]
    assert made["metadata"]["name"] == "agent-workbench-baseline"
    assert template["metadata"]["labels"] == {
        "app.kubernetes.io/name": "agent-workbench",
        COLOUR: "baseline",
    }
    assert made["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert env_of(template) == {"MC_COLOUR": "blue", "MC_FAULT_SLOW_FACTOR": "2"}
    container = template["spec"]["containers"][0]
    assert container["image"] == "agent-workbench@sha256:1"
    assert is_ours(made)
    assert not is_ours(serving)
    assert serving == deployment(env=[fault])  # what is copied stays as it is


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"updatedReplicas": 2}, "is being rolled out"),
        ({"observedGeneration": 3}, "is being rolled out"),
        ({"replicas": 0, "updatedReplicas": 0, "readyReplicas": 0}, "nobody serves"),
    ],
)
def test_what_is_not_one_thing_is_no_baseline(status, why):
    serving = deployment()
    serving["status"] |= status
    with pytest.raises(CouldNotTell, match=why):
        baseline_of(serving, Colour.blue, {})


def test_faults_are_put_in_and_taken_away_again():
    template = deployment()["spec"]["template"]
    broken = with_faults(template, Faults(slow_factor=2))
    assert env_of(broken) == {
        "MC_COLOUR": None,
        "MC_FAULTS_ALLOWED": "1",
        "MC_FAULT_SLOW_FACTOR": "2",
    }
    assert with_faults(broken, Faults(slow_factor=2)) is None
    assert with_faults(broken, None) is None  # as it is
    assert with_faults(broken, Faults()) == template


def test_an_autoscaler_is_held_at_what_is_compared_and_gets_its_bounds_back():
    cluster = Objects(horizontalpodautoscalers={"agent-workbench": hpa()})
    kept = cluster.kept["horizontalpodautoscalers"]["agent-workbench"]

    def look():
        return cluster.get("horizontalpodautoscalers", "agent-workbench")

    for replicas in (3, 5):  # held twice, the second time with more
        hold.hold(cluster, look(), replicas)
        assert (kept["spec"]["minReplicas"], kept["spec"]["maxReplicas"]) == (replicas, replicas)
        assert hold.bounds(look()) == (3, 8)
    hold.release(cluster, look())
    assert kept["spec"] == {"minReplicas": 3, "maxReplicas": 8}
    assert HELD not in kept["metadata"]["annotations"]
    hold.release(cluster, look())  # nothing to release
    assert kept["spec"] == {"minReplicas": 3, "maxReplicas": 8}


def test_bounds_that_somebody_set_meanwhile_stay():
    """An applied overlay sets the bounds; the annotation that is left must not undo that."""
    cluster = Objects(horizontalpodautoscalers={"agent-workbench": hpa()})
    hold.hold(cluster, hpa(), 3)
    kept = cluster.kept["horizontalpodautoscalers"]["agent-workbench"]
    kept["spec"] = {"minReplicas": 4, "maxReplicas": 6}
    hold.release(cluster, copy.deepcopy(kept))
    assert kept["spec"] == {"minReplicas": 4, "maxReplicas": 6}
    assert HELD not in kept["metadata"]["annotations"]


def test_an_annotation_that_is_not_ours_holds_nothing():
    for text in ("[]", "{", '{"minReplicas": "many"}', "null", "3"):
        assert hold.bounds(hpa(**{HELD: text})) == (3, 8)


@pytest.mark.parametrize(
    ("colour", "asked", "why"),
    [
        (Colour.green, {"replicas": 2}, "keeps 3 to 8"),
        (Colour.green, {"replicas": 9}, "keeps 3 to 8"),
        (Colour.blue, {"replicas": 0}, "nobody would"),
        (Colour.blue, {"replicas": 3, "restart": True}, "would drop requests"),
        (Colour.green, {"replicas": 3, "baseline": True}, "as fresh"),
        (Colour.green, {"replicas": 100}, "expected 0 to 99"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_touched(colour, asked, why):
    cluster = Objects(
        horizontalpodautoscalers={"agent-workbench": hpa(), "agent-workbench-green": hpa()}
    )
    given = {"restart": False, "faults": None, "baseline": False, **asked}
    scaling = Scaling(client=cluster, reading=Side(), colour=colour, **given)
    with pytest.raises(UnusableInput, match=why):
        scaling.require_possible()


def test_a_held_autoscaler_refuses_by_its_own_bounds():
    held = hpa(3, 3, **{HELD: '{"minReplicas": 3, "maxReplicas": 8}'})
    cluster = Objects(
        horizontalpodautoscalers={"agent-workbench-green": held},
        deployments={"agent-workbench-green": deployment()},
    )
    given = {"restart": True, "faults": None, "baseline": True}
    scaling = Scaling(client=cluster, reading=Side(), colour=Colour.green, replicas=5, **given)
    assert scaling.require_possible() is Colour.blue


def test_what_administers_serves_nobody():
    """The administrator's URL, and no port, probe, name or fault of a replica."""
    fault = {"name": "MC_FAULT_SLOW_FACTOR", "value": "2"}
    pod = pod_of(deployment(env=[fault]), "a-pod", ("repair", "--dry-run"))
    (container,) = pod["spec"]["containers"]
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "mc-migrate"
    assert not {"ports", "readinessProbe"} & set(container)
    assert [one["name"] for one in container["env"]] == ["MC_DATABASE_ADMIN_URL"]
    assert container["args"] == ["repair", "--dry-run"]
    assert container["securityContext"] == {"readOnlyRootFilesystem": True}


def test_what_would_lose_files_is_not_run():
    with pytest.raises(UnusableInput, match="writes files"):
        administer(Objects(), deployment(), ("archive", "--older-than", "90", "--to", "/tmp/out"))


def test_two_never_change_a_platform_at_once(monkeypatch):
    monkeypatch.setattr(lease, "_POLL_S", 0.01)
    cluster, inside, most = Objects(), [], []

    def change():
        for _ in range(3):
            with lease.held(cluster, lambda _: None) as mine:
                mine.require()
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12
    assert cluster.kept["leases"]["mcctl"]["spec"]["holderIdentity"] == ""


def lease_of(holder, seconds):
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds}
    return {"mcctl": {"metadata": {"resourceVersion": "1"}, "spec": spec}}


def test_whoever_died_holding_it_is_followed(monkeypatch):
    """Its silence counts from when it is first seen, by one clock, whatever times it wrote."""
    monkeypatch.setattr(lease, "_POLL_S", 0.01)
    cluster = Objects(leases=lease_of("ann@laptop", 0.2))
    told = []
    with lease.held(cluster, told.append):
        assert cluster.kept["leases"]["mcctl"]["spec"]["holderIdentity"] != "ann@laptop"
    assert told == ["another mcctl (ann@laptop) changes this platform; waiting for it"]


def test_whoever_lives_is_waited_for_and_named(monkeypatch):
    monkeypatch.setattr(lease, "_POLL_S", 0.01)
    cluster = Objects(leases=lease_of("ann@laptop", 60))
    with (
        pytest.raises(CouldNotTell, match="ann@laptop"),
        lease.held(cluster, lambda _: None, patience_s=0.1),
    ):
        pass
    assert cluster.kept["leases"]["mcctl"]["spec"]["holderIdentity"] == "ann@laptop"


def test_a_lease_that_could_not_be_renewed_is_not_relied_on(monkeypatch):
    cluster = Objects()
    with lease.held(cluster, lambda _: None) as mine:
        monkeypatch.setattr(lease, "DURATION_S", lease._RENEW_S - 1)
        with pytest.raises(CouldNotTell, match="could not be renewed"):
            mine.require()
