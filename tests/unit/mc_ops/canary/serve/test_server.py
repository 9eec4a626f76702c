"""Argo's and Flagger's protocols as they are documented, against the real HTTP server.

The YAML of the how-to pages is what the two controllers of these tests go by.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fake_edge
import httpx
import pytest
import yaml

from mc_ops.canary.serve.server import Judge
from mc_ops.errors import NotAllowed

TOKEN = "t" * 40
DOCS = Path(__file__).parents[5] / "docs" / "how-to"


def _documents(page: str) -> dict[str, Any]:
    """The YAML documents of a page, by kind."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    read = [yaml.safe_load(block) for _, block in blocks]
    return {one["kind"]: one for one in read}


METRIC = _documents("argo-rollouts.md")["AnalysisTemplate"]["spec"]["metrics"][0]
HOOKS = _documents("flagger.md")["Canary"]["spec"]["analysis"]["webhooks"]


@pytest.fixture
def url(comparisons) -> Iterator[str]:
    """The server."""
    with fake_edge.serving_app(Judge(comparisons, lambda: TOKEN).application()) as address:
        yield address


@pytest.fixture
def client(url) -> Iterator[httpx.Client]:
    """A client that has the token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as made:
        yield made


class Argo:
    """What the controller does with one metric, by its documentation.

    A measurement is Successful or Failed by its condition, Inconclusive by neither, and an Error for
    anything but a 2xx. Errors do not count as measurements.
    """

    def __init__(self, url: str, *, token: str = TOKEN, run: str = "6f7d9c5b8") -> None:
        self._url = url
        self._arguments = {"token": token, "run": run, "comparison": "workbench"}
        self.failed = self.inconclusive = self.successful = self.errors = 0

    def _filled(self, text: str) -> str:
        return re.sub(r"{{ *args\.(\w+) *}}", lambda found: self._arguments[found[1]], text)

    def measure(self) -> str:
        """One measurement; the phase of the metric after it."""
        web = METRIC["provider"]["web"]
        answer = httpx.request(
            web["method"],
            self._url + urlsplit(web["url"]).path,
            headers={self._filled(h["key"]): self._filled(h["value"]) for h in web["headers"]},
            content=self._filled(web["body"]),
            timeout=web["timeoutSeconds"],
            trust_env=False,
        )
        if not 200 <= answer.status_code < 300:
            self.errors += 1
            return "Error" if self.errors > METRIC["consecutiveErrorLimit"] else "Running"
        self.errors = 0
        assert web["jsonPath"] == "{$.verdict}"
        result = answer.json()["verdict"]
        if f'result == "{result}"' == METRIC["successCondition"]:
            self.successful += 1
        elif f'result == "{result}"' == METRIC["failureCondition"]:
            self.failed += 1
        else:
            self.inconclusive += 1
        if self.failed > METRIC["failureLimit"]:
            return "Failed"
        if self.inconclusive > METRIC["inconclusiveLimit"]:
            return "Inconclusive"
        made = self.failed + self.inconclusive + self.successful
        return "Successful" if made >= METRIC["count"] else "Running"

    def to_its_end(self, *, after_each: Any = lambda: None) -> str:
        """Measure until the metric has ended."""
        while (phase := self.measure()) == "Running":
            after_each()
        return phase


@pytest.mark.parametrize(
    ("ending", "phase"),
    [
        ("promote", "Successful"),
        ("hold", "Failed"),
        ("inconclusive", "Inconclusive"),
        ("error", "Inconclusive"),
    ],
)
def test_argo_ends_as_the_judge_says(world, comparisons, verdict, url, ending, phase):
    """Hold aborts at the first measurement that has it; inconclusive is inconclusive, never a pass."""
    world.ends(ending)
    argo = Argo(url)
    assert argo.measure() == "Running"
    verdict(comparisons, "workbench", "6f7d9c5b8")
    assert argo.to_its_end() == phase
    assert (argo.failed, argo.errors) == (1 if ending == "hold" else 0, 0)


def test_argo_that_saw_no_verdict_does_not_go_on(world, url, tmp_path):
    """A comparison that outlasts all questions is inconclusive: the limit on the page sees to it."""
    world.ends("promote", when=tmp_path / "never")
    argo = Argo(url)
    assert argo.to_its_end() == "Inconclusive"
    assert argo.inconclusive == METRIC["count"]


def test_argo_that_got_its_verdict_with_the_last_question_goes_on(
    world, comparisons, verdict, url, tmp_path
):
    """One promote is enough, and it is needed."""
    gate = tmp_path / "gate"
    world.ends("promote", when=gate)
    argo = Argo(url)
    for _ in range(METRIC["count"] - 1):
        assert argo.measure() == "Running"
    gate.touch()
    verdict(comparisons, "workbench", "6f7d9c5b8")
    assert argo.measure() == "Successful"


def test_argo_with_another_token_ends_in_error_and_begins_nothing(world, url):
    """401 is an error of the measurement, not a verdict."""
    argo = Argo(url, token="x" * 40)
    assert argo.to_its_end() == "Error"
    assert world.starts() == []


def test_a_measurement_says_why(world, comparisons, verdict, client):
    """Verdict, reason, and the figures of the judgement."""
    world.ends("hold")
    asked = {"comparison": "workbench", "run": "r1"}
    first = client.post("/v1/measurement", json=asked).json()
    assert (first["verdict"], first["final"], first["measurement"]) == ("running", False, None)
    verdict(comparisons, "workbench", "r1")
    answer = client.post("/v1/measurement", json=asked).json()
    assert answer.pop("begun_at").startswith(str(world.now.year))
    assert answer == {
        "schema_version": 1,
        **asked,
        "verdict": "hold",
        "final": True,
        "reason": "60 % worse",
        "measurement": {"kind": "regressed", "margin": 0.05},
    }


class Flagger:
    """What Flagger sends for each webhook of the page, and how it reads the answer."""

    def __init__(self, url: str, checksum: str = "85d557f47b") -> None:
        self._url, self._checksum = url, checksum
        self.events: list[str] = []

    def passes(self, name: str) -> bool:
        """Whether a webhook passes: a status up to 202; the body of any other is an event."""
        [hook] = [one for one in HOOKS if one["name"] == name]
        payload = {
            "name": "agent-workbench",
            "namespace": "mc-platform",
            "phase": "Progressing",
            "checksum": self._checksum,
            "metadata": hook["metadata"],
        }
        parts = urlsplit(hook["url"])
        # As Go's client does it: a URL's user part becomes HTTP Basic
        answer = httpx.post(
            self._url + parts.path,
            json=payload,
            auth=(parts.username or "", TOKEN if parts.password == "TOKEN" else ""),
            trust_env=False,
            timeout=float(hook["timeout"].removesuffix("s")),
        )
        if answer.status_code > 202:
            self.events.append(answer.text.strip())
        return answer.status_code <= 202


def test_the_hooks_of_the_page_are_of_the_right_types():
    """The gate stands before the promotion, and the rollback is asked as one."""
    assert {hook["name"]: hook["type"] for hook in HOOKS} == {
        "begin": "rollout",
        "promote": "confirm-promotion",
        "rollback": "rollback",
    }


@pytest.mark.parametrize(
    ("ending", "begin", "promote", "rollback"),
    [
        ("promote", True, True, False),
        ("hold", False, False, True),
        ("inconclusive", True, False, False),
        ("error", True, False, False),
    ],
)
def test_flagger_goes_by_the_verdict(
    world, comparisons, verdict, url, ending, begin, promote, rollback
):
    """Only promote opens the gate, only hold rolls back; inconclusive waits for a person."""
    world.ends(ending)
    flagger = Flagger(url)
    assert not flagger.passes("rollback")
    assert world.starts() == [], "the rollback's question begins nothing"
    assert flagger.passes("begin")
    verdict(comparisons, "workbench", "85d557f47b")
    assert [flagger.passes(name) for name in ("begin", "promote", "rollback")] == [
        begin,
        promote,
        rollback,
    ]
    assert len(world.starts()) == 1


def test_flagger_waits_while_it_runs_and_reads_why(world, url, tmp_path):
    """Neither gate opens; the reason is what its events show. Another checksum is another run."""
    world.ends("promote", when=tmp_path / "never")
    flagger = Flagger(url)
    assert flagger.passes("begin")
    assert not flagger.passes("promote")
    assert not flagger.passes("rollback")
    assert flagger.events == ["running: both sides are compared"] * 2
    assert not Flagger(url, "other").passes("promote")


@pytest.mark.parametrize(
    "path", ["measurement", "flagger/begin", "flagger/promote", "flagger/rollback"]
)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        f"Basic {TOKEN}",
        f"Token {TOKEN}",
        "Basic !!",
        f"bearer {TOKEN}x",
        b"Bearer \xff" + TOKEN.encode(),
        b"Basic \xff",
    ],
)
def test_nobody_without_the_token_is_answered(world, url, path, header):
    """Whatever is asked; nothing begins, and the answer has no internals."""
    headers = {} if header is None else {"Authorization": header}
    body = {
        "comparison": "workbench",
        "run": "r",
        "metadata": {"comparison": "workbench"},
        "checksum": "r",
    }
    answer = httpx.post(f"{url}/v1/{path}", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["error"]["code"] == "not-authenticated"
    assert world.starts() == []


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "must be a JSON object"),
        (b'{"comparison": "workbench", "run": "r", "run": "s"}', 400, "stands twice"),
        (b'{"comparison": "workbench", "run": "r", "url": "http://x"}', 400, "unknown: url"),
        (b'{"comparison": "nosuch", "run": "r"}', 404, "no such comparison"),
        (b'{"comparison": ["workbench"], "run": "r"}', 404, "no such comparison"),
        (b'{"comparison": "workbench"}', 400, "run must be"),
        (b'{"comparison": "workbench", "run": ".."}', 400, "run must be"),
        (b'{"comparison": "workbench", "run": "a/b"}', 400, "run must be"),
        (b'{"comparison": "workbench", "run": "r\\"}"}', 400, "run must be"),
        (b'{"comparison": "workbench", "run": "\xc3\xa9"}', 400, "run must be"),
        (b'{"comparison": "workbench", "run": "' + b"r" * 64 + b'"}', 400, "run must be"),
        (b" " * 20_000, 413, ""),
    ],
)
def test_what_is_not_understood_is_refused(world, client, body, status, said):
    """With a code and a reason, before anything begins."""
    answer = client.post("/v1/measurement", content=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]
    assert world.starts() == []


def test_what_else_is_asked(client, url):
    """The probe needs no token; another method or path has nothing."""
    assert httpx.get(f"{url}/healthz", trust_env=False).json() == {"status": "ok"}
    assert client.get("/v1/measurement").status_code == 405
    assert client.get("/nosuch").status_code == 404
    assert client.post("/v1/flagger/promote", json={"name": "x"}).status_code == 400


def test_a_judge_that_cannot_tell_says_so(world, comparisons, client):
    """Neither a full disk nor a missing token is a verdict; it may be asked again."""
    world.folder.parent.joinpath("kept").write_text("a file")
    answer = client.post("/v1/measurement", json={"comparison": "workbench", "run": "r"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert str(world.folder) not in answer.text

    def no_token() -> str:
        raise NotAllowed("the token cannot be read")

    with fake_edge.serving_app(Judge(comparisons, no_token).application()) as url:
        headers = {"Authorization": "Bearer x"}
        answer = httpx.post(f"{url}/v1/measurement", json={}, headers=headers, trust_env=False)
        assert answer.status_code == 503


def test_a_body_that_never_comes_keeps_nobody_waiting(client, url):
    """Others are answered meanwhile."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port)) as slow:
        head = f"POST /v1/measurement HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        slow.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
        answer = client.post("/v1/measurement", json={"comparison": "workbench", "run": "r"})
        assert json.loads(answer.text)["verdict"] == "running"
