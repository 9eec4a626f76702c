"""`mcctl canary serve` as it is deployed: a process, real comparisons, a real Prometheus."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml
from tests.children import child
from tests.fake_replica import replica
from tests.forked import MCCTL
from tests.real_prometheus import NEEDED, prometheus, scraping

from mc_ops.canary.serve import comparisons, configuration
from mc_ops.canary.serve.comparisons import Comparisons
from mc_ops.canary.serve.server import Judge

BUSY = str(Path(__file__).with_name("mcctl_on_a_busy_machine.py"))
ROOT = Path(__file__).parents[2]
TOKEN = "k" * 64


def _fake(name: str) -> ModuleType:
    place = Path(__file__).parents[1] / "unit" / "mc_ops" / "canary" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


fake_edge = _fake("fake_edge")
Ask = Callable[[str, str], dict[str, Any]]


@contextmanager
def _judge(config: Path, folder: Path) -> Iterator[Ask]:
    """A judge of that file, whose rehearsals may be late; gives how a verdict is asked for."""
    made = Comparisons(configuration.read(config), folder, command=(sys.executable, BUSY))
    with fake_edge.serving_app(Judge(made, lambda: TOKEN).application()) as url:

        def ask(name: str, run: str) -> dict[str, Any]:
            return httpx.post(
                f"{url}/v1/measurement",
                json={"comparison": name, "run": run},
                headers={"Authorization": f"Bearer {TOKEN}"},
                trust_env=False,
                timeout=60,
            ).json()

        try:
            yield ask
        finally:
            made.close()


def _final(ask: Ask, name: str, run: str, wait_until: Callable[..., Any]) -> dict[str, Any]:
    def look() -> Any:
        answer = ask(name, run)
        return answer if answer["final"] else None

    return wait_until(look, within_s=240, what=f"a verdict on {name} of {run}")


def test_pairs_are_sent_and_judged(tmp_path, monkeypatch, wait_until):
    """A candidate that fails now and then is held before the end, one that is alike promoted."""
    monkeypatch.setenv("MC_CANARY_TOKEN", fake_edge.TOKEN)
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLACK_WEBHOOK_URL", raising=False)
    with (
        fake_edge.serving(fake_edge.FakeEdge(latency_s=0.2)) as base,
        fake_edge.serving(fake_edge.FakeEdge(latency_s=0.2)) as alike,
        fake_edge.serving(fake_edge.FakeEdge(latency_s=0.2, error_every=4)) as failing,
    ):
        settings = (
            f'kind = "pairs"\nbaseline = ["{base.url}"]\nminutes = 0.05\nrate = 120\nmargin = 1.0\n'
        )
        config = tmp_path / "canary.toml"
        config.write_text(
            f'[comparison.alike]\n{settings}candidate = ["{alike.url}"]\n'
            f'[comparison.failing]\n{settings}candidate = ["{failing.url}"]\n'
        )
        with _judge(config, tmp_path / "kept") as ask:
            assert ask("alike", "r1")["verdict"] == "running"
            assert "waits for its turn" in ask("failing", "r1")["reason"]
            promoted = _final(ask, "alike", "r1", wait_until)
            held = _final(ask, "failing", "r1", wait_until)
    assert promoted["verdict"] == "promote", promoted
    assert promoted["measurement"]["rehearsal"] is True
    assert promoted["measurement"]["planned_pairs"] == 360
    assert held["verdict"] == "hold", held
    assert held["measurement"]["kind"] == "errors"
    assert "the candidate alone failed" in held["reason"]
    assert held["measurement"]["decided_at_pairs"] < 360
    kept = {path.name for path in (tmp_path / "kept/failing/r1/attempt-1/canary").iterdir()}
    assert {"base.lat", "cand.lat", "verdict.json"} <= kept


def test_a_baseline_that_is_down_is_inconclusive(tmp_path, monkeypatch, wait_until, dead_port):
    """No verdict on the candidate, with the reason."""
    monkeypatch.setenv("MC_CANARY_TOKEN", fake_edge.TOKEN)
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    with fake_edge.serving(fake_edge.FakeEdge()) as candidate:
        config = tmp_path / "canary.toml"
        config.write_text(
            '[comparison.x]\nkind = "pairs"\nminutes = 0.05\nrate = 120\nmargin = 1.0\n'
            f'baseline = ["http://127.0.0.1:{dead_port}"]\ncandidate = ["{candidate.url}"]\n'
        )
        with _judge(config, tmp_path / "kept") as ask:
            answer = _final(ask, "x", "r1", wait_until)
    assert answer["verdict"] == "inconclusive"
    assert f"baseline http://127.0.0.1:{dead_port}" in answer["reason"]


RULES = """step_s = 0.2
[[metric]]
name = "queue"
query = 'sum(mc_queue_seconds{$side})'
direction = "increase"
allowed_change = { relative = 0.1 }
critical = true
"""


@pytest.fixture
def scraped(tmp_path, wait_until, free_ports) -> Iterator[tuple[str, dict[str, Any]]]:
    """A Prometheus that scrapes three replicas; one has half as long a queue again as the others."""
    with replica("blue-1") as blue, replica("teal-1") as teal, replica("green-1") as green:
        for made, level in ((blue, 1.0), (teal, 1.0), (green, 1.5)):
            made.samples["mc_queue_seconds"] = level
        settings = scraping({"x": [made.url for made in (blue, teal, green)]})
        with prometheus(tmp_path, f"127.0.0.1:{free_ports}", settings) as url:
            wait_until(lambda: min(blue.scraped, teal.scraped, green.scraped) > 2, what="scrapes")
            yield url, {"blue": blue, "teal": teal, "green": green}


@NEEDED
def test_metrics_of_a_real_prometheus_are_judged(scraped, tmp_path, monkeypatch, wait_until):
    """By the word of the caller in the selector; a Prometheus that stops is inconclusive."""
    monkeypatch.setattr(comparisons, "_SETTLE", timedelta(0))
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    address, replicas = scraped
    (tmp_path / "rules.toml").write_text(RULES)
    config = tmp_path / "canary.toml"
    ports = {name: made.url.rpartition(":")[2] for name, made in replicas.items()}
    config.write_text(
        '[comparison.x]\nkind = "metrics"\nminutes = 0.1\nmetrics = "rules.toml"\n'
        f'prometheus = "{address}"\n'
        f"baseline_selector = 'instance=\"127.0.0.1:{ports['blue']}\"'\n"
        "candidate_selector = 'instance=~\"127.0.0.1:{run}\"'\n"
    )
    with _judge(config, tmp_path / "kept") as ask:
        for side in ("teal", "green"):
            assert "the window is open" in ask("x", ports[side])["reason"]
        nobody = ask("x", "1")
        passed = _final(ask, "x", ports["teal"], wait_until)
        failed = _final(ask, "x", ports["green"], wait_until)
        missing = _final(ask, "x", "1", wait_until)
    assert nobody["verdict"] == "running"
    assert passed["verdict"] == "promote", passed
    assert failed["verdict"] == "hold", failed
    assert failed["measurement"]["metrics"]["outcome"] == "fail"
    assert missing["verdict"] != "promote", missing


def test_the_verb_serves_until_it_is_stopped(tmp_path, wait_until, free_ports):
    """A process with a token's file; what cannot be used ends it before it listens."""
    config, token = tmp_path / "canary.toml", tmp_path / "token"
    config.write_text(
        '[comparison.x]\nkind = "pairs"\nminutes = 10\nbaseline = ["http://a:1"]\ncandidate = ["http://b:1"]\n'
    )
    token.write_text(f"{TOKEN}\n")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [
        *(sys.executable, MCCTL, "canary", "serve", "--config", str(config)),
        *("--token-file", str(token), "--port", str(free_ports)),
    ]
    url = f"http://127.0.0.1:{free_ports}"
    environment = kept | {"MC_HOME": str(tmp_path / "home"), "NO_COLOR": "1"}
    with child(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: process.poll() is not None or _answers(url), what="it answers")
        asked = {"comparison": "nosuch", "run": "r"}
        for given, status in ((TOKEN, 404), ("x" * 64, 401)):
            headers = {"Authorization": f"Bearer {given}"}
            answer = httpx.post(
                f"{url}/v1/measurement", json=asked, headers=headers, trust_env=False
            )
            assert answer.status_code == status
        token.write_text("n" * 64)
        answer = httpx.post(f"{url}/v1/measurement", json=asked, headers=headers, trust_env=False)
        assert answer.status_code == 401, "the new token counts"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "1 comparison at" in said
    token.write_text("short")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "fewer than 32 characters" in done.stderr


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_the_manifest_of_the_page_fits_the_verb(tmp_path):
    """Its settings are read, its options exist, its folder is the image's, and it is no root."""
    text = (ROOT / "docs" / "reference" / "canary-serve.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    made = {one["kind"]: one for one in yaml.safe_load_all(block)}
    config = tmp_path / "canary.toml"
    config.write_text(made["ConfigMap"]["data"]["canary.toml"])
    assert list(configuration.read(config)) == ["workbench"]
    pod = made["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    offered = subprocess.run(
        [sys.executable, MCCTL, "canary", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert container["args"][:2] == ["canary", "serve"]
    for option in container["args"][2::2]:
        assert option in offered
    mounts = {one["mountPath"] for one in container["volumeMounts"]}
    image = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^ENV MC_HOME=(\S+)$", image)[0] in mounts
    assert pod["securityContext"]["runAsUser"] == 65532
    assert (
        made["Service"]["spec"]["selector"] == made["Deployment"]["spec"]["selector"]["matchLabels"]
    )
