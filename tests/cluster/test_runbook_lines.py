"""The operations runbook, line by line, as it is written: does it work, or does it run and mislead?

`tests/cluster/runbook/lines.toml` says it of each line, `docs/runbook-coverage.md` is made of that, and
every test here shows it of some. Tests stand in an order that costs least: what changes the platform last.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.cluster import runbook
from tests.cluster.conftest import pod_spec, until
from tests.cluster.platform import PODS, SCRAPE_TOKEN, SIEM_KEY, Platform
from tests.cluster.runbook import MISLEADS, ROOT, WORKS, desk, github
from tests.cluster.runbook.desk import Desk
from tests.cluster.runbook.github import GitHub
from tests.deploy.rendered import named
from tests.loopback import certificate
from tests.real_prometheus import prometheus

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
TOOLS = ("gh", "curl", "jq", "git", "prometheus", "promtool")
HOSTS = ("mc-platform.example.com", "api.github.com", "hooks.slack.com")
DENIALS = 60
# As docs/reference/kubernetes-environment.md has the operator get the ledger's public key
LEDGER_KEY = (
    "mkdir -p $MC_HOME/trust && kubectl get secret mc-platform-secrets -o jsonpath='{.data.ledger\\.key}'"
    " | base64 -d | openssl pkey -pubout >$MC_HOME/trust/ledger.pub"
)
GOVERNANCE = "urn:mc-platform:a2a:governance:1"


@pytest.fixture(scope="module")
def hub(at_desk: tuple[Desk, GitHub]) -> GitHub:
    """What stands for GitHub and for Slack."""
    return at_desk[1]


@pytest.fixture(scope="module")
def operator(at_desk: tuple[Desk, GitHub]) -> Desk:
    """Who types the lines."""
    return at_desk[0]


@pytest.fixture(scope="module")
def at_desk(
    platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Desk, GitHub]]:
    """An operator's machine, with everything that the runbook names."""
    path = f"{platform.env['PATH']}:{ROOT / '.tools'}:{ROOT / '.venv/bin'}"
    missing = [name for name in TOOLS if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"the runbook needs {', '.join(missing)}; .ci/run installs them where it can")
    until(lambda: at_rest(platform), 180)  # starting is a load, for which there may be five
    folder = tmp_path_factory.mktemp("desk")
    context, authority = certificate(folder, names=HOSTS)
    edge, hub, watcher = (desk.own_address() for _ in range(3))
    siem = platform.cluster.read("-n", "mc-siem", "service", "siem")["spec"]["clusterIP"]
    names = dict(zip(HOSTS, (edge, hub, hub), strict=True))
    names |= {"prometheus": watcher, "siem.example.com": siem}
    config = folder / "kubeconfig"
    shutil.copy(platform.env["KUBECONFIG"], config)
    subprocess.run(
        ["kubectl", "config", "set-context", "--current", "--namespace=mc-platform"],
        env={**platform.env, "KUBECONFIG": str(config)},
        check=True,
    )
    agent = platform.cluster.read("-n", "mc-agents", "service", "records-agent")["spec"]
    env = {
        **platform.env,
        "PATH": path,
        "HOME": str(folder),
        "KUBECONFIG": str(config),
        "SSL_CERT_FILE": str(authority),
        "CURL_CA_BUNDLE": str(authority),
        "GH_TOKEN": github.TOKEN,
        "GH_REPO": github.REPOSITORY,
        "GH_PROMPT_DISABLED": "1",
        "SLACK_WEBHOOK_URL": f"https://hooks.slack.com{github.WEBHOOK}",
        "AUDIT_SIEM_URL": "http://siem.example.com:8088/ingest",
        "MC_URL": "https://mc-platform.example.com",
        "MC_EGRESS_TABLE": str(ROOT / "deploy/kubernetes/overlays/local-test/egress.toml"),
        "MC_CREDENTIALS_FILE": str(platform.workspace.secret("credentials.json")),
        "MC_REDTEAM_AGENT_URL": f"http://{agent['clusterIP']}:8101",
    }
    upstream = httpx.URL(platform.url())
    work = desk.checkout(folder, folder / "origin.git")
    with (
        desk.tls_edge(edge, context, (upstream.host, upstream.port or 80)),
        github.serving(hub, context) as server,
        scraped(platform, watcher, folder),
    ):
        operator = Desk(work, env, names)
        assert operator.ask(LEDGER_KEY).returncode == 0
        yield operator, server


def at_rest(platform: Platform) -> bool:
    """Three replicas, all of blue, measured, and nobody on the way out."""
    found = platform.read("pods", "-l", PODS)["items"]
    status = platform.read("hpa", "agent-workbench")["status"]
    told = {one["type"]: one["status"] for one in status.get("conditions", [])}
    seen = status.get("currentReplicas") if told.get("ScalingActive") == "True" else None
    return len(found) == len(platform.side("blue")) == ready(platform) == seen == 3


@contextmanager
def scraped(platform: Platform, address: str, folder: Path) -> Iterator[None]:
    """A Prometheus with the settings for a cluster, whose discovery is done here.

    Debian's has no discovery by Kubernetes: the pods with the labels that it would give them stand in
    for that one part.
    """
    settings = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.kubernetes.yml").read_text())
    [job] = settings["scrape_configs"]
    del job["kubernetes_sd_configs"], settings["alerting"]
    job["static_configs"] = [_discovered(pod) for pod in platform.side("blue")]
    token = folder / "scrape.token"
    token.write_text(SCRAPE_TOKEN)
    job["authorization"]["credentials_file"] = str(token)
    settings["rule_files"] = [str(ROOT / "deploy/prometheus/rules/*.rules.yml")]
    with prometheus(folder, f"{address}:9090", settings):
        yield


def _discovered(pod: dict[str, Any]) -> dict[str, Any]:
    meta, own = "__meta_kubernetes_pod", pod["metadata"]
    labels = {
        "__meta_kubernetes_namespace": own["namespace"],
        f"{meta}_name": own["name"],
        f"{meta}_phase": pod["status"]["phase"],
        f"{meta}_container_port_number": "8080",
        f"{meta}_label_mc_platform_colour": own["labels"]["mc-platform/colour"],
    }
    return {"targets": [f"{pod['status']['podIP']}:8080"], "labels": labels}


def serving(platform: Platform) -> list[dict[str, Any]]:
    """Blue's pods that are ready: the autoscaler may have begun one more at any time."""

    def is_ready(pod: dict[str, Any]) -> bool:
        seen = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
        return seen.get("Ready") == "True"

    return [pod for pod in platform.side("blue") if is_ready(pod)]


@cache
def address(platform: Platform) -> str:
    return platform.url()


def ask(platform: Platform, what: Any, *, tenant: str = "TENANT_001", **governance: str) -> Any:
    """One message through the public Service, by a connection of its own, so by any pod."""
    part = {"text": what} if isinstance(what, str) else {"data": what}
    message = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": [part]}
    message["metadata"] = {GOVERNANCE: governance}
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    bearer = {"Authorization": f"Bearer {platform.token(tenant)}", "A2A-Version": "1.0"}
    return httpx.post(f"{address(platform)}/a2a", json=call, headers=bearer, timeout=60).json()


def of_pods(platform: Platform, series: str) -> list[float]:
    """The sum of the series that begin so, in each pod of blue."""
    bearer = {"Authorization": f"Bearer {SCRAPE_TOKEN}"}
    places = [f"http://{pod['status']['podIP']}:8080/metrics" for pod in serving(platform)]
    return [summed(httpx.get(url, headers=bearer, timeout=30).text, series) for url in places]


def summed(text: str, series: str) -> float:
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(series))


# -- what only looks --------------------------------------------------------------------------------


def test_the_scripts_in_front_of_the_cutover_pass(operator: Desk):
    """Each names what it looked at, and finds nothing wrong with a platform that is well."""
    for line, check in (
        ("verify-pod-security", "admission-admits-ours"),
        ("test-egress-policy", "probe deny"),
        ("validate-hpa", "hpa-conditions agent-workbench"),
    ):
        done = operator.run(line)
        assert (done.returncode, "0 to look at" in done.stderr) == (0, True), done.stdout
        assert check in done.stdout
    operator.shown(WORKS, "verify-pod-security", "test-egress-policy", "validate-hpa")


def test_health_is_asked_through_the_edge_and_the_autoscaler_by_name(
    platform: Platform, operator: Desk
):
    done = operator.run("health")
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"], told["colour"]) == (0, "ok", "blue")
    done = operator.run("get-hpa")
    assert done.returncode == 0
    assert done.stdout.split()[:2] == ["NAME", "REFERENCE"]
    assert "Deployment/agent-workbench" in done.stdout

    def told() -> bool:
        done = operator.run("hpa-replicas")
        seen = platform.read("hpa", "agent-workbench")["status"]["currentReplicas"]
        return (done.returncode, done.stdout) == (0, str(seen))

    until(told)
    done = operator.run("describe-hpa")
    assert done.returncode == 0
    assert "resource cpu on pods" in done.stdout
    assert "SuccessfulRescale" in done.stdout
    operator.shown(WORKS, "health", "get-hpa", "hpa-replicas", "describe-hpa")


def test_usage_of_pods_is_no_cost(operator: Desk):
    """CPU and memory, without a price, a request or a target."""
    # What is new is measured some 15 s later
    until(
        lambda: (
            len(operator.ask(f"kubectl top pods --no-headers -l {PODS}").stdout.splitlines()) >= 3
        )
    )
    done = operator.run("top-pods")
    head, *rows = done.stdout.splitlines()
    assert (done.returncode, len(rows) >= 3) == (0, True)
    assert head.split() == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    operator.shown(MISLEADS, "top-pods")


def test_logs_by_label_are_ten_lines_of_each_pod(platform: Platform, operator: Desk):
    """So denials are counted up to ten a pod, whatever the window: an hour, six and the day agree."""
    for _ in range(DENIALS):
        told = ask(platform, "Where is my order?", purpose="marketing")
        assert told["error"], told
    all_of_them = f'kubectl logs -l {PODS} --tail=-1 | grep "policy.*deny" | wc -l'
    until(lambda: int(operator.ask(all_of_them).stdout) >= DENIALS)
    for line in ("denials-1h", "denials-6h", "denials-24h"):
        done = operator.run(line)
        assert done.returncode == 0
        assert int(done.stdout) <= 10 * len(platform.side("blue")) < DENIALS
        operator.shown(MISLEADS, line)


def test_one_pod_of_three_is_asked_for_its_counters(platform: Platform, operator: Desk):
    """What one pod has counted since its start is neither the platform's count nor a rate."""
    order = {"item": "widget", "quantity": 1, "customer": "C-1001", "amount_cents": 1200}
    order["address_ref"] = "A-1"

    def counted_by_two() -> bool:
        ask(platform, "An answer", purpose="support", agent="records")
        for item in ("widget", "unbookable"):
            ask(platform, {**order, "item": item}, operation="place-order", purpose="fulfilment")
        return all(sum(map(bool, of_pods(platform, name))) > 1 for name in lines.values())

    lines = {
        "metrics-a2a": "mc_a2a_requests_total{",
        "metrics-operations": "mc_autonomy_operations_total{",
        "metrics-compensation": "mc_autonomy_compensation_total{",
    }
    until(counted_by_two)
    for line, name in lines.items():
        done = operator.run(line)
        assert done.returncode == 0
        assert summed(done.stdout, name) < sum(of_pods(platform, name))
        operator.shown(MISLEADS, line)


def test_queries_print_nothing_and_with_a_flag_one_value_for_each_pod_and_route(operator: Desk):
    """curl takes `[5m]` for a range of URLs, and says so to nobody: `-s`, and jq ends the line."""
    ready = f"curl -sg 'http://prometheus:9090/api/v1/query?query={P95}' | jq '.data.result|length'"
    until(lambda: int(operator.ask(ready).stdout or 0) >= 3)
    for line in ("query-p95", "query-burn"):
        done = operator.run(line)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    settings = Path(operator.env["HOME"]) / ".curlrc"
    settings.write_text("globoff\n")
    try:
        each = operator.run("query-p95").stdout.split()
    finally:
        settings.unlink()
    assert len(each) > 3  # a quantile of each replica and route; `NaN` where nobody asked
    whole = (
        f"curl -sg 'http://prometheus:9090/api/v1/query?query={WHOLE}' | jq '.data.result|length'"
    )
    assert operator.ask(whole).stdout.strip() == "1"
    operator.shown(MISLEADS, "query-p95", "query-burn")


P95 = "histogram_quantile(0.95,%20rate(mc_request_duration_seconds_bucket[5m]))"
WHOLE = (
    "histogram_quantile(0.95,%20sum%20by%20(le)%20(rate(mc_request_duration_seconds_bucket[5m])))"
)


def test_the_delta_is_no_json_and_slack_refuses_it(operator: Desk, hub: GitHub):
    """The queries print nothing, so values are missing; what is there was typed in. All of it exits 0."""
    assert operator.run("delta").returncode == 0
    text = (operator.folder / "out/operations-delta-day7.json").read_text()
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(text)
    assert '"privacy_block_rate": "99.7%"' in text  # of no red-team
    done = operator.run("post-delta")
    sent, status, said = hub.posted[-1]
    assert (done.returncode, status, said) == (0, 400, "invalid_payload")
    assert sent.decode() == text.replace("\n", "")
    (operator.folder / "out/operations-delta-day7.json").write_text('{"period": "day-7"}')
    done = operator.run("post-delta")  # and with JSON that is sound
    assert (done.returncode, hub.posted[-1][1:]) == (0, (400, "no_text"))
    operator.shown(MISLEADS, "delta", "post-delta")


# -- releases, by GitHub and by git -------------------------------------------------------------------


def test_the_canary_of_a_workflow_is_begun_and_a_hold_is_exit_0(operator: Desk, hub: GitHub):
    """What was asked for is right; that it came to HOLD, only the run that is looked for says."""
    done = operator.run("gh-run")
    assert done.returncode == 0, done.stderr
    urls = {"baseline": "https://blue.example.com", "candidate": "https://green.example.com"}
    assert hub.dispatched == [{"ref": "main", "inputs": {**urls, "minutes": "10"}}]
    operator.shown(MISLEADS, "gh-run")
    done = operator.run("gh-list")
    assert (done.returncode, str(github.RUN) in done.stdout) == (0, True), done.stderr
    assert "failure" in done.stdout
    fill = {"[RUN_ID]": str(github.RUN)}  # a placeholder: the id that the line before shows
    done = operator.run("gh-view", fill=fill)
    assert (done.returncode, "HOLD: the candidate's p95" in done.stdout) == (0, True), done.stderr
    done = operator.run("gh-download", fill=fill)
    assert done.returncode == 0, done.stderr
    assert len((operator.folder / "cand.lat").read_text().split()) == 19
    operator.shown(WORKS, "gh-list", "gh-view", "gh-download")
    assert hub.unexpected == []


def test_a_workflow_s_run_is_waited_for_and_its_hold_is_an_error(operator: Desk, hub: GitHub):
    """What ours does instead of going on: it waits while the run is under way, and ends as that does."""
    hub.under_way = 3
    done = operator.ask(f"gh run watch {github.RUN} --exit-status --interval 1")
    assert (done.returncode, hub.under_way, hub.unexpected) == (1, 0, []), done.stdout + done.stderr
    assert "* main canary-analysis" in done.stdout
    assert "X PROMOTE or HOLD" in done.stdout


def test_the_p95_by_hand_is_one_sample_too_low(operator: Desk):
    """Of 19 pairs it takes the 18th: a candidate whose p95 is twice as long regresses by 0.0%."""
    done = operator.run("p95-by-hand")
    assert (done.returncode, "Regression: 0.0%" in done.stdout) == (0, True), done.stderr
    assert github.CANDIDATE[-1] == 2 * github.BASE[-1]  # the 19th is the p95, by nearest rank
    operator.shown(MISLEADS, "p95-by-hand")


def test_a_release_is_tagged_and_pushed(operator: Desk):
    for line in ("git-tag", "git-push"):
        done = operator.run(line)
        assert done.returncode == 0, done.stderr
    tags = operator.ask("git ls-remote --tags origin; git rev-parse HEAD").stdout.split()
    assert tags[0] == tags[-1]
    assert tags[1].startswith("refs/tags/v0.3.2-mc-prod-2")
    operator.shown(WORKS, "git-tag", "git-push")


def test_evidence_is_packed_and_verified(operator: Desk):
    done = operator.run("evidence-pack")
    assert done.returncode == 0, done.stderr
    assert (operator.folder / "dist/evidence-v0.3.2-mc-prod.json").stat().st_size
    done = operator.run("evidence-verify")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True), done.stdout + done.stderr
    operator.shown(WORKS, "evidence-pack", "evidence-verify")


# -- the SIEM ---------------------------------------------------------------------------------------


def test_a_siem_that_takes_nothing_looks_as_it_did(platform: Platform, operator: Desk):
    """Old successes are still among the last lines; `HEAD` gets the same 405, and curl is content."""
    ask(platform, "Where is my order?", purpose="marketing")
    until(lambda: sum(of_pods(platform, 'mc_siem_requests_total{status="success"}')) > 0)
    healthy = operator.run("siem-head")
    control = f"curl -sf {operator.env['AUDIT_SIEM_URL'].removesuffix('ingest')}control"
    control += f" -H 'Authorization: Bearer {SIEM_KEY}' --json"
    failed = 'mc_siem_requests_total{status="failure"}'
    before = sum(of_pods(platform, failed))
    assert operator.ask(f"{control} '{{\"failing\": true}}'").returncode == 0
    try:
        ask(platform, "Where is my order?", purpose="marketing")
        until(lambda: sum(of_pods(platform, failed)) > before)
        done = operator.run("siem-grep")
        assert (done.returncode, "success" in done.stdout) == (0, True)
        done = operator.run("siem-head")
        status = [one.stdout.splitlines()[0] for one in (healthy, done)]
        assert (done.returncode, status) == (0, ["HTTP/1.1 405 Method Not Allowed"] * 2)
    finally:
        operator.ask(f"{control} '{{\"failing\": false}}'")
    operator.shown(MISLEADS, "siem-grep", "siem-head")


def test_a_part_of_a_secret_is_printed(operator: Desk):
    """It authenticates nothing: the receiver is not asked, and the screen keeps what was shown."""
    done = operator.run("siem-key")
    assert (done.returncode, done.stdout) == (0, SIEM_KEY[:10])
    operator.shown(MISLEADS, "siem-key")


def test_the_log_is_followed_of_five_pods_at_most(platform: Platform, operator: Desk):
    """With both sides up it refuses, and grep hides that: nothing is printed."""
    following = operator.start("siem-follow")
    try:
        ask(platform, "Where is my order?", purpose="marketing")
        until(lambda: "siem_delivery" in operator.ask(f"kubectl logs -l {PODS}").stdout)
        assert following.poll() is None
    finally:
        seen, _ = desk.stop(following)
    assert seen is not None
    standing = [_idle(f"idle-{n}") for n in range(3)]
    platform.apply(*standing)
    try:
        until(lambda: len(platform.read("pods", "-l", PODS)["items"]) >= 6)
        done = operator.run("siem-follow")
        assert (done.returncode, done.stdout) == (1, "")
        assert "maximum allowed concurrency is 5" in done.stderr
    finally:
        names = [one["metadata"]["name"] for one in standing]
        platform.kubectl("delete", "pod", *names, "--now")
    operator.shown(MISLEADS, "siem-follow")


def _idle(name: str) -> dict[str, Any]:
    """A pod as another side's would be, in all that `-l` asks."""
    limits = {"cpu": "50m", "memory": "32Mi"}
    spec = pod_spec(
        args=["-c", "import time; time.sleep(600)"],
        readinessProbe=None,
        lifecycle=None,
        volumeMounts=[],
        resources={"requests": limits, "limits": limits},
        spec={"volumes": []},
    )
    labels = {"app.kubernetes.io/name": "agent-workbench"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


# -- the rules --------------------------------------------------------------------------------------


def test_the_rules_of_alerts_are_read_by_prometheus(operator: Desk, tmp_path: Path):
    """Both blocks together; of each alert tests/deploy shows when it is wrong, and that ours is not."""
    file = tmp_path / "runbook.rules.yml"
    file.write_text(runbook.rules(runbook.RUNBOOK.read_text()))
    done = operator.ask(f"promtool check rules {file}")
    assert (done.returncode, "6 rules found" in done.stdout) == (0, True), done.stderr
    told = [rule for one in yaml.safe_load(file.read_text())["groups"] for rule in one["rules"]]
    checked = yaml.safe_load((ROOT / "tests/deploy/runbook.rules.yml").read_text())
    expressions = {one["alert"]: one["expr"] for one in checked["groups"][0]["rules"]}
    assert {one["alert"]: one["expr"] for one in told} == expressions
    operator.shown(MISLEADS, *(f"alert-{one['alert']}" for one in told))


# -- what changes the platform -------------------------------------------------------------------------


@contextmanager
def minimum(platform: Platform, replicas: int) -> Iterator[None]:
    """The autoscaler wants so many, as under load."""
    patch = ("patch", "hpa", "agent-workbench", "-p")
    platform.kubectl(*patch, json.dumps({"spec": {"minReplicas": replicas}}))
    try:
        yield
    finally:
        platform.kubectl(*patch, json.dumps({"spec": {"minReplicas": 3}}))
        platform.kubectl("scale", "deploy/agent-workbench", "--replicas=3")


def test_scaling_by_hand_is_undone_and_its_events_have_another_name(
    platform: Platform, operator: Desk
):
    """What wants four replicas gets three, until the autoscaler looks again; neither grep sees it."""
    until(lambda: at_rest(platform), 180)
    with minimum(platform, 4):
        until(lambda: replicas(platform) >= 4)
        done = operator.run("scale")
        assert (done.returncode, done.stdout) == (0, "deployment.apps/agent-workbench scaled\n")
        until(lambda: replicas(platform) >= 4)
    events = operator.ask(
        "kubectl get events --field-selector involvedObject.name=agent-workbench"
    ).stdout
    assert "SuccessfulRescale" in events
    assert "Scaled down replica set" in events
    done = operator.run("events-tail")
    assert (done.returncode, done.stdout) == (0, "")
    done = operator.run("events")
    assert (done.returncode, done.stdout) == (1, "")
    operator.shown(MISLEADS, "scale", "events-tail", "events")


def replicas(platform: Platform) -> int:
    return int(platform.read("deploy", "agent-workbench")["spec"]["replicas"])


def test_the_scale_down_window_is_patched(platform: Platform, operator: Desk):
    def window() -> int:
        behaviour = platform.read("hpa", "agent-workbench")["spec"]["behavior"]
        return int(behaviour["scaleDown"]["stabilizationWindowSeconds"])

    before = window()
    done = operator.run("patch-hpa")
    try:
        assert (done.returncode, window()) == (0, 600)
    finally:
        way_back = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": before}}}}
        platform.kubectl("patch", "hpa", "agent-workbench", "-p", json.dumps(way_back))
    operator.shown(WORKS, "patch-hpa")


def test_a_drill_takes_two_of_three_replicas_away_and_measures_nothing(
    platform: Platform, operator: Desk
):
    """Recovery is told three times while replicas are missing; then waiting by label does not end well.

    A second wait, begun later, does. The first one waits for a pod that is gone, or fails as it is gone.
    """
    until(lambda: at_rest(platform), 180)
    platform.apply(a_pod_that_never_serves())
    until(lambda: platform.read("pod", "leaving")["status"]["phase"] == "Running")
    done = operator.run("dr-drill")
    platform.kubectl("delete", "pod", "leaving", "--wait=false")
    waiting = operator.start("wait-ready")  # at once, while a pod is on its way out
    assert done.returncode == 0, done.stderr
    told = (operator.folder / "out/dr-drill-results.txt").read_text().splitlines()
    assert [one.split(": ")[0] for one in told] == [f"RTO for TENANT_00{n}" for n in (1, 2, 3)]
    assert ready(platform) < 3
    ours = operator.ask("kubectl rollout status deploy/agent-workbench --timeout=170s")
    assert ours.returncode == 0, ours.stderr
    assert ready(platform) >= 3
    try:
        until(lambda: at_rest(platform), 180)
        second = operator.run("wait-ready")
        assert (second.returncode, second.stdout.count("condition met") >= 3) == (0, True)
        gone = waiting.poll() is not None
    finally:
        _, said = desk.stop(waiting)
    assert waiting.returncode
    assert ("not found" in said) == gone
    operator.shown(MISLEADS, "dr-drill", "wait-ready")


def a_pod_that_never_serves() -> dict[str, Any]:
    """It has the service's label as a candidate that failed has it, and takes its grace to the full."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    never = {"exec": {"command": ["false"]}}
    some = {"cpu": "50m", "memory": "32Mi"}  # as the namespace's quota asks
    own = {"readinessProbe": never, "lifecycle": None, "volumeMounts": []}
    spec = pod_spec(args=["-c", deaf], resources={"requests": some, "limits": some}, **own)
    label, _, name = PODS.partition("=")
    meta = {"name": "leaving", "labels": {label: name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**spec, "volumes": []}}


def ready(platform: Platform) -> int:
    return int(platform.read("deploy", "agent-workbench")["status"].get("readyReplicas", 0))


FILE = ("AUDIT_FILE_ENABLED", "AUDIT_FILE_PATH")


def test_the_backup_file_is_said_to_be_on_before_a_replica_has_it(
    platform: Platform, operator: Desk
):
    """Those that serve have it off as before, and are to be replaced; a region's have it on already."""
    serve = [pod["metadata"]["name"] for pod in serving(platform)]
    done = operator.run("enable-file")
    try:
        assert (done.returncode, "env updated" in done.stdout) == (0, True), done.stderr
        for pod in serve:
            said = platform.kubectl("exec", pod, "--", "printenv", FILE[0], check=False).stdout
            assert said in {"false\n", ""}  # or it is gone by now
        assert len(until(lambda: _sets(platform)[1:] and _sets(platform))) == 2
    finally:
        operator.ask(
            f"kubectl set env deploy/agent-workbench {' '.join(f'{one}-' for one in FILE)}"
        )
    region = named("overlays/region", "ConfigMap", "mc-platform-config")["data"]
    assert [region[one] for one in FILE] == ["true", "/var/log/mc-audit/events.log"]
    operator.shown(MISLEADS, "enable-file")


def _sets(platform: Platform) -> list[str]:
    found = platform.read("replicasets", "-l", f"{PODS},mc-platform/colour=blue")["items"]
    return [one["metadata"]["name"] for one in found if one["spec"]["replicas"]]


# -- under load, so last ------------------------------------------------------------------------------


def test_the_red_team_meets_its_targets_through_the_edge(operator: Desk):
    done = operator.run("red-team", within_s=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all attacks" in done.stdout
    operator.shown(WORKS, "red-team")


def test_every_line_was_run_and_the_page_says_the_same(operator: Desk, hub: GitHub):
    """`MC_WRITE_COVERAGE=1` writes the page; else it must be as it is in the repository."""
    assert hub.unexpected == []
    assert operator.seen == {one.id: one.state for one in operator.entries.values()}
    if os.environ.get("MC_WRITE_COVERAGE"):
        runbook.PAGE.write_text(runbook.page(), encoding="utf-8")
    assert runbook.PAGE.read_text(encoding="utf-8") == runbook.page()
