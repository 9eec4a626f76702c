"""`mcctl redteam privacy`: it finds what is open, and does not call a failure a block."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import forked
from tests.cli.open_gateway import OpenGateway, open_gateway

ROOT = Path(__file__).parents[2]
TENANTS = ("TENANT_001", "TENANT_002", "TENANT_003")


@pytest.fixture
def gateway() -> Iterator[OpenGateway]:
    with open_gateway() as one:
        yield one


@pytest.fixture
def attack(gateway: OpenGateway, tmp_path: Path) -> Any:
    """Run the script of the runbook; exit code, report, standard error."""
    tokens = tmp_path / "credentials.json"
    tokens.write_text(
        json.dumps({name: {"token": f"mc_{'a' * 12}_{'s' * 43}"} for name in TENANTS})
    )
    env = {**os.environ, "MC_CREDENTIALS_FILE": str(tokens), "MC_HOME": str(tmp_path / ".mc")}

    def run(*arguments: str, **more: str) -> tuple[int, dict[str, Any], str]:
        done = forked.run(
            [
                str(ROOT / "scripts" / "privacy-red-team.py"),
                *("--target", gateway.url, "--agent-url", gateway.url, "--output", "json"),
                *("--seed", "3", "--wordings", "4", *arguments),
            ],
            timeout=120,
            env={**env, **more},
            cwd=tmp_path,
        )
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    return run


def test_an_open_gateway_is_found_open(attack: Any, tmp_path: Path) -> None:
    """Hardly an attack is blocked, honest work passes, and the report is written whole."""
    code, told, problems = attack(
        "--attacks", "170", "--benign", "42", "--out", str(tmp_path / "r")
    )
    assert code == 1, problems
    assert told["met"] is False
    for family in ("direct-pii", "encoded-pii", "split-pii", "exfiltration-links"):
        assert told["figures"]["families"][family]["missed"] == 10, family
    assert told["figures"]["families"]["token-confusion"]["blocked"] == 0
    honest = told["figures"]["benign"]
    assert honest["passed"] >= 0.9 * honest["n"]
    assert any("graphql" in problem for problem in told["problems"])
    rows = [json.loads(line) for line in (tmp_path / "r" / "redteam-rows.jsonl").open()]
    assert len(rows) == 180 + 42 + 4
    assert (tmp_path / "r" / "redteam.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "r" / "redteam.json").read_text())["figures"] == told["figures"]


def test_a_platform_that_fails_is_not_called_safe(gateway: OpenGateway, attack: Any) -> None:
    """Nothing comes back from a 503, and nothing is proven by it."""
    gateway.failing = 503
    code, told, _ = attack(
        "--scenarios", "direct-pii,split-pii", "--attacks", "20", "--benign", "20"
    )
    assert code == 3
    assert told["figures"]["attacks"]["invalid"] == 20
    assert told["invalid"][0]["why"] == "HTTP 503"


def test_an_agent_that_says_something_else_ends_the_run(gateway: OpenGateway, attack: Any) -> None:
    """Else every attack on it would be blocked."""
    gateway.deaf = True
    code, _, problems = attack("--attacks", "20", "--benign", "20")
    assert code == 3
    assert "does not answer with what was planted" in problems


def test_metrics_that_strangers_may_not_read_are_read_by_an_auditor(
    gateway: OpenGateway, attack: Any, tmp_path: Path
) -> None:
    """Else that channel is not known, and nothing is promised."""
    few = ("--scenarios", "direct-pii", "--attacks", "20", "--benign", "20")
    gateway.reader = "mc_the-auditor"
    _, told, _ = attack(*few)
    assert "channel metrics could not be read" in told["problems"]
    tokens = {name: {"token": "mc_t"} for name in TENANTS} | {"AUDITOR": {"token": gateway.reader}}
    (tmp_path / "all.json").write_text(json.dumps(tokens))
    _, told, _ = attack(*few, MC_CREDENTIALS_FILE=str(tmp_path / "all.json"))
    assert "channel metrics could not be read" not in told["problems"]


def test_the_agent_may_be_named_by_the_environment(
    gateway: OpenGateway, attack: Any, tmp_path: Path
) -> None:
    """As the runbook's own line names none."""
    few = ("--scenarios", "direct-pii", "--attacks", "2", "--benign", "2", "--target", gateway.url)
    tokens = tmp_path / "credentials.json"
    env = {**os.environ, "MC_CREDENTIALS_FILE": str(tokens), "MC_HOME": str(tmp_path / ".mc")}
    script = str(ROOT / "scripts" / "privacy-red-team.py")
    env["MC_REDTEAM_AGENT_URL"] = gateway.url
    done = forked.run([script, *few, "--output", "json"], timeout=120, env=env, cwd=tmp_path)
    assert json.loads(done.stdout)["figures"]["attacks"]["invalid"] == 0
    assert gateway.planted


def test_outside_cases_are_judged_too(attack: Any, tmp_path: Path) -> None:
    """In families of their own."""
    corpus = tmp_path / "c.jsonl"
    rows = [
        {"id": "1", "scenario": "cards", "text": "4111 1111 1111 1111", "expect": "block"},
        {"id": "2", "scenario": "talk", "text": "good morning", "expect": "allow"},
    ]
    corpus.write_text("\n".join(map(json.dumps, rows)))
    code, told, _ = attack("--attacks", "0", "--benign", "0", "--corpus", str(corpus))
    assert code == 1
    assert told["figures"]["families"]["corpus-cards"]["missed"] == 1
    assert told["figures"]["benign"]["passed"] == 1


@pytest.mark.parametrize(
    ("arguments", "env", "code", "problem"),
    [
        (("--scenarios", "no-such"), {}, 2, 'unknown scenario "no-such"'),
        (("--corpus", "nowhere.jsonl"), {}, 2, "nowhere.jsonl cannot be read"),
        (("--target", "http://127.0.0.1:9"), {}, 3, "does not answer"),
        ((), {"MC_CREDENTIALS_FILE": "nowhere.json"}, 4, "nowhere.json cannot be used"),
        (("--target", "https://mc.example.com"), {"MC_CREDENTIALS_FILE": ""}, 4, "no credentials"),
    ],
)
def test_what_cannot_be_done_is_told(
    attack: Any, arguments: tuple[str, ...], env: dict[str, str], code: int, problem: str
) -> None:
    """With the exit code that says whose fault it is; this machine's tokens go nowhere else."""
    got, _, told = attack(*arguments, **env)
    assert (got, problem in told) == (code, True), told
    assert "Traceback" not in told
