"""The manifests: what they say is what the service reads, and what its limits bear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib

import pytest
import yaml
from tests.deploy.rendered import MANIFESTS, OVERLAYS, named, needs_kustomize, objects, text

from mc_contract import connections
from mc_platform.observe import health
from mc_platform.receive import middleware
from mc_platform.settings import Settings, load_catalogue, load_settings, unknown_variables

pytestmark = needs_kustomize
COLOURS = {"blue": "agent-workbench", "green": "agent-workbench-green"}
SECRETS = {
    "MC_DATABASE_URL": "postgresql://mc_service:p@db:5432/mc?sslmode=verify-full",
    "AUDIT_SIEM_KEY": "k" * 40,
    "MC_ARBITER_URL": "postgresql://mc_arbiter:p@arbiter:5432/mc_arbiter",
}
WHOLE = ("region", "peer", "cloudnative-pg", "local-test")
CUSTOM = {"PrometheusRule", "PodMonitor", "Cluster", "ScheduledBackup"}
SETTING_NAMES = {
    field.validation_alias or f"MC_{name.upper()}" for name, field in Settings.model_fields.items()
}


def _pod(overlay, name="agent-workbench"):
    return named(overlay, "Deployment", name)["spec"]["template"]["spec"]


def _container(overlay, name="agent-workbench"):
    [container] = _pod(overlay, name)["containers"]
    return container


def _environment(overlay, colour="blue"):
    """What the container's process gets, with stand-ins for secrets and the pod's own fields."""
    container = _container(overlay, COLOURS[colour])
    fields = {
        "metadata.name": f"{COLOURS[colour]}-7c9d8b6f5d-x2x4z",
        "metadata.uid": "4b9c7a4e-6f35-4cb7-9a09-0d8f5bd7c0aa",
        "metadata.labels['mc-platform/colour']": colour,
    }
    env = dict(named(overlay, "ConfigMap", "mc-platform-config")["data"])
    for one in container["env"]:
        source = one["valueFrom"]
        if "fieldRef" in source:
            env[one["name"]] = fields[source["fieldRef"]["fieldPath"]]
        else:
            assert source["secretKeyRef"]["name"] == "mc-platform-secrets"
            env[one["name"]] = SECRETS[source["secretKeyRef"]["key"]]
    return env


@pytest.mark.parametrize(
    "overlay",
    [*(f"overlays/{name}" for name in OVERLAYS), "migrate", "overlays/local-test/migrate"],
)
def test_every_object_is_valid_for_the_api(overlay):
    """Each object of an API that Kubernetes has holds to its schema, with no unknown field."""
    validate = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    found = objects(overlay)
    assert found
    for one in found:
        if one["kind"] not in CUSTOM:
            validate.validate(one, "1.36", strict=True)


@pytest.mark.parametrize("overlay", WHOLE)
@pytest.mark.parametrize("colour", COLOURS)
def test_the_service_reads_what_the_pod_is_given(overlay, colour, monkeypatch, tmp_path):
    """The pod's environment loads as settings, with no variable that means nothing."""
    for name in [name for name in os.environ if name.startswith(("MC_", "AUDIT_"))]:
        monkeypatch.delenv(name)
    env = _environment(f"overlays/{overlay}", colour)
    catalogue = tmp_path / "catalogue.toml"
    data = named(f"overlays/{overlay}", "ConfigMap", "mc-platform-catalogue")["data"]
    catalogue.write_text(data["catalogue.toml"])
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MC_CATALOGUE", str(catalogue))
    settings = load_settings()
    assert unknown_variables(settings) == []
    assert (settings.host, settings.port, settings.colour) == ("0.0.0.0", 8080, colour)
    assert settings.replica.startswith(COLOURS[colour])
    # The three tenants that the runbook names, and the platform's own two
    tenants = set(load_catalogue(settings.catalogue).tenants)
    assert tenants >= {"TENANT_001", "TENANT_002", "TENANT_003", "CANARY", "PLATFORM"}


@pytest.mark.parametrize("overlay", WHOLE)
def test_every_file_that_is_named_is_mounted(overlay):
    """A path in the settings lies in a volume that can be written where the service writes."""
    env = _environment(f"overlays/{overlay}")
    container, pod = _container(f"overlays/{overlay}"), _pod(f"overlays/{overlay}")
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}
    writes = {"AUDIT_FILE_PATH", "MC_SIGNER_STATE_DIR"}
    paths = {
        name: value
        for name, value in env.items()
        if value.startswith("/") and name != "MC_POLICY_DIR"  # in the image, as the code is
    }
    assert writes <= set(paths)
    for name, path in paths.items():
        [mount] = [one for at, one in mounts.items() if path == at or path.startswith(f"{at}/")]
        assert bool(mount.get("readOnly")) is (name not in writes), name
        items = volumes[mount["name"]].get("secret", {}).get("items")
        if items:
            assert path.rsplit("/", 1)[1] in {one["path"] for one in items}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert mounts["/tmp"]


def test_the_example_secret_has_each_key_and_no_value():
    """What the Deployment asks of the secret is in the example, which is in no kustomization."""
    example = yaml.safe_load((MANIFESTS / "shared" / "secret.example.yaml").read_text())
    [keys] = [
        one["secret"]["items"] for one in _pod("overlays/peer")["volumes"] if one["name"] == "keys"
    ]
    asked = {one["key"] for one in keys} | set(SECRETS)
    assert asked <= set(example["stringData"])
    assert all("REPLACE" in value for value in example["stringData"].values())
    assert not [one for one in objects("overlays/region") if one["kind"] == "Secret"]


def test_probes_ask_what_anybody_may_ask():
    """Readiness is `/health`; liveness is what needs no database, so that none is restarted for one."""
    container = _container("overlays/blue")
    paths = {
        name: container[name]["httpGet"]["path"]
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    card = "/.well-known/agent-card.json"
    assert paths == {"startupProbe": card, "readinessProbe": "/health", "livenessProbe": card}
    assert set(paths.values()) <= middleware._PUBLIC
    # So long does /health wait for a dependency
    assert container["readinessProbe"]["timeoutSeconds"] > health._PROBE_TIMEOUT_S


@pytest.mark.parametrize("overlay", WHOLE)
def test_a_pod_has_the_time_to_drain(overlay):
    """The grace covers preStop, the drain and 10 s to close; the drain covers the longest agent's answer."""
    pod, container = _pod(f"overlays/{overlay}"), _container(f"overlays/{overlay}")
    drain_s = float(_environment(f"overlays/{overlay}")["MC_DRAIN_S"])
    pre_stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pre_stop_s + drain_s + 10
    assert pre_stop_s >= 5
    if overlay != "local-test":  # there it is short, so that operations are handed over
        data = named(f"overlays/{overlay}", "ConfigMap", "mc-platform-catalogue")["data"]
        agents = tomllib.loads(data["catalogue.toml"])["agents"].values()
        assert drain_s > max(one.get("timeout_s", 30) for one in agents)


@pytest.mark.parametrize("overlay", WHOLE)
def test_the_autoscaler_alone_says_how_many(overlay):
    """No replicas beside an HPA, which keeps at least 3 of each side."""
    for colour, name in COLOURS.items():
        assert "replicas" not in named(f"overlays/{overlay}", "Deployment", name)["spec"], colour
        spec = named(f"overlays/{overlay}", "HorizontalPodAutoscaler", name)["spec"]
        assert spec["scaleTargetRef"]["name"] == name
        assert spec["minReplicas"] == 3


@pytest.mark.parametrize("overlay", WHOLE)
def test_the_maximum_is_within_the_connection_budget(overlay):
    """Both sides at their maximum, with the pod of a rolling update each, fit the database."""
    pods = 0
    for name in COLOURS.values():
        surge = named(f"overlays/{overlay}", "Deployment", name)["spec"]["strategy"]
        pods += surge["rollingUpdate"]["maxSurge"]
        spec = named(f"overlays/{overlay}", "HorizontalPodAutoscaler", name)["spec"]
        pods += spec["maxReplicas"]
    server = connections.Server(most=200, reserved=3, others=10)
    assert pods <= server.fitting
    if overlay == "region":
        assert pods == server.fitting == 18  # as the comments say
        cluster = named("overlays/cloudnative-pg", "Cluster", "mc-postgres")["spec"]
        assert cluster["postgresql"]["parameters"]["max_connections"] == str(server.most)


@pytest.mark.parametrize("overlay", WHOLE)
def test_one_service_says_which_side_serves(overlay):
    """The switch selects one colour's pods, and each side has a Service by itself."""
    labels = {
        colour: named(f"overlays/{overlay}", "Deployment", name)["spec"]["template"]["metadata"][
            "labels"
        ]
        for colour, name in COLOURS.items()
    }

    def reached(service):
        selector = named(f"overlays/{overlay}", "Service", service)["spec"]["selector"]
        return {c for c, has in labels.items() if selector.items() <= has.items()}

    assert reached("agent-workbench") == {"blue"}
    assert reached("agent-workbench-blue") == {"blue"}
    assert reached("agent-workbench-green") == {"green"}
    for colour, name in COLOURS.items():
        for kind in ("Deployment", "PodDisruptionBudget"):
            selector = named(f"overlays/{overlay}", kind, name)["spec"]["selector"]["matchLabels"]
            assert selector["mc-platform/colour"] == colour
        assert labels[colour]["app.kubernetes.io/name"] == "agent-workbench"


def test_the_prometheus_rules_are_the_same_as_ever():
    """The operator's object has every group of deploy/prometheus/rules, and was made of them."""
    rules = MANIFESTS.parent / "prometheus" / "rules"
    groups = [
        group
        for path in sorted(rules.glob("*.rules.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    rule = named("overlays/region", "PrometheusRule", "agent-workbench")
    assert rule["spec"]["groups"] == groups
    build = MANIFESTS / "monitoring" / "build.py"
    assert subprocess.run([sys.executable, build, "--check"], check=False).returncode == 0, (
        "python deploy/kubernetes/monitoring/build.py"
    )


def test_prometheus_asks_each_replica_once():
    """The PodMonitor finds the pods of each side by their own label; as the other settings."""
    monitor = named("overlays/region", "PodMonitor", "agent-workbench")["spec"]
    settings = yaml.safe_load(
        (MANIFESTS.parent / "prometheus" / "prometheus.kubernetes.yml").read_text()
    )
    [job] = settings["scrape_configs"]
    [endpoint] = monitor["podMetricsEndpoints"]
    for name in COLOURS.values():
        pod = named("overlays/region", "Deployment", name)["spec"]["template"]
        assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert pod["metadata"]["labels"][monitor["jobLabel"]] == job["job_name"]
        [container] = pod["spec"]["containers"]
        assert [port["name"] for port in container["ports"]] == [endpoint["port"]]
    targets = {one.get("target_label") for one in job["relabel_configs"]} - {None}
    assert {one.get("targetLabel") for one in endpoint["relabelings"]} - {None} == targets
    key = endpoint["authorization"]["credentials"]
    assert (key["name"], key["key"]) == ("mc-platform-secrets", "scrape.token")


def test_the_catalogue_of_the_test_is_the_local_one():
    """One catalogue of the samples, wherever they run."""
    ours = MANIFESTS / "overlays" / "local-test" / "catalogue.toml"
    assert ours.read_text() == (MANIFESTS.parent / "local" / "catalogue.toml").read_text()


@pytest.mark.parametrize("overlay", WHOLE)
def test_the_job_migrates_as_nobody_else_may(overlay):
    """The administrator's URL is in a secret that no replica reads; the Job serves no requests."""
    job = named("migrate", "Job", "mc-migrate")["spec"]["template"]
    labels = job["metadata"]["labels"]
    service = named(f"overlays/{overlay}", "Service", "agent-workbench")["spec"]["selector"]
    assert not service.items() <= labels.items()
    assert labels["app.kubernetes.io/name"] != "agent-workbench"
    assert "mc-platform-admin" in json.dumps(job)
    assert "mc-platform-admin" not in text(f"overlays/{overlay}")
