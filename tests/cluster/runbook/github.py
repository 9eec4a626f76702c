"""GitHub's API for the runbook's calls, and a Slack webhook: what is asked of them is checked."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests import loopback

REPOSITORY, TOKEN, RUN, WORKFLOW = "example/mc-platform", "gho_of-the-test", 4711, 42
WEBHOOK = "/services/T000/B000/secret"
_REPO = f"/repos/{REPOSITORY}"
_TIME = "2026-12-01T09:00:00Z"

# 19 pairs: of the candidate the slowest alone is twice as slow, and it is the p95 by nearest rank
BASE = [0.001 * (10 + n) for n in range(19)]
CANDIDATE = [*BASE[:-1], 2 * BASE[-1]]


@dataclass
class GitHub:
    """What it was asked; a request that it does not expect is kept in `unexpected`.

    Attributes:
        dispatched: Bodies of workflow dispatches.
        posted: Of each message to Slack: what was sent, and the answer's status and text.
        under_way: How often the run is still to be told as under way.
    """

    dispatched: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    posted: list[tuple[bytes, int, str]] = field(default_factory=list)
    under_way: int = 0

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """The status and what is answered; bytes are a zip, a string is where it is."""
        known = {
            ("GET", f"{_REPO}/actions/workflows/canary-analysis.yml"): _workflow,
            ("GET", f"{_REPO}/actions/workflows/{WORKFLOW}"): _workflow,
            ("POST", "/graphql"): lambda: self._graphql(body),
            ("POST", f"{_REPO}/actions/workflows/{WORKFLOW}/dispatches"): lambda: self._dispatch(
                body
            ),
            ("GET", f"{_REPO}/actions/workflows/{WORKFLOW}/runs"): lambda: self._runs(query),
            ("GET", f"{_REPO}/actions/runs/{RUN}"): self._run,
            ("GET", f"{_REPO}/actions/runs/{RUN}/jobs"): _jobs,
            ("GET", f"{_REPO}/actions/runs/{RUN}/attempts/1/jobs"): _jobs,
            ("GET", f"{_REPO}/actions/runs/{RUN}/logs"): _logs,
            ("GET", f"{_REPO}/actions/runs/{RUN}/attempts/1/logs"): _logs,
            ("GET", f"{_REPO}/actions/runs/{RUN}/artifacts"): _artifacts,
            ("GET", f"{_REPO}/actions/artifacts/7/zip"): _samples,
            ("GET", f"{_REPO}/check-runs/9/annotations"): lambda: (200, []),
        }.get((method, path))
        self.asked.append(f"{method} {path}")
        told = known() if known else None
        if told is None:
            self.unexpected.append(f"{method} {path} {query} {body}")
            return 404, {"message": "Not Found"}
        return told

    def _graphql(self, body: dict[str, Any]) -> tuple[int, Any] | None:
        owner, name = REPOSITORY.split("/")
        asked = body["variables"]
        assert (asked["owner"], asked.get("name", asked.get("repo"))) == (owner, name)
        if "PullRequestForRun" in body["query"]:
            return 200, {"data": {"repository": {"pullRequests": {"nodes": []}}}}
        if "defaultBranchRef" not in body["query"]:
            return None
        found = {"id": "R_1", "name": name, "owner": {"login": owner}}
        return 200, {"data": {"repository": {**found, "defaultBranchRef": {"name": "main"}}}}

    def _dispatch(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.dispatched.append(body)
        return 204, None

    def _runs(self, query: dict[str, str]) -> tuple[int, Any] | None:
        if query.get("per_page") != "1":
            return None
        found = [_run()[1]] if self.dispatched else []
        return 200, {"total_count": len(found), "workflow_runs": found}

    def _run(self) -> tuple[int, Any]:
        status, found = _run()
        if self.under_way:
            self.under_way -= 1
            found |= {"status": "in_progress", "conclusion": None}
        return status, found

    def slack(self, kind: str, raw: bytes) -> tuple[int, str]:
        """As documented: what has neither text nor blocks, or is no JSON, is refused."""
        try:
            body = json.loads(raw) if kind.startswith("application/json") else {}
            status, said = (
                (200, "ok") if body.get("text") or body.get("blocks") else (400, "no_text")
            )
        except ValueError:
            status, said = 400, "invalid_payload"
        self.posted.append((raw, status, said))
        return status, said


def _workflow() -> tuple[int, Any]:
    path = ".github/workflows/canary-analysis.yml"
    return 200, {"id": WORKFLOW, "name": "canary-analysis", "path": path, "state": "active"}


def _run() -> tuple[int, Any]:
    return 200, {
        "id": RUN,
        "name": "canary-analysis",
        "display_title": "Canary of https://green.example.com",
        "status": "completed",
        "conclusion": "failure",  # HOLD
        "workflow_id": WORKFLOW,
        "event": "workflow_dispatch",
        "head_branch": "main",
        "head_sha": "0" * 40,
        "run_number": 1,
        "run_attempt": 1,
        "created_at": _TIME,
        "updated_at": _TIME,
        "run_started_at": _TIME,
        "html_url": f"https://github.com/{REPOSITORY}/actions/runs/{RUN}",
        "url": f"https://api.github.com{_REPO}/actions/runs/{RUN}",
        "jobs_url": f"https://api.github.com{_REPO}/actions/runs/{RUN}/jobs",
        "logs_url": f"https://api.github.com{_REPO}/actions/runs/{RUN}/logs",
        "head_repository": {"name": "mc-platform", "owner": {"login": "example"}},
    }


def _jobs() -> tuple[int, Any]:
    step = {"name": "Compare", "status": "completed", "conclusion": "failure", "number": 1}
    job = {
        "id": 9,
        "run_id": RUN,
        "name": "PROMOTE or HOLD",
        "status": "completed",
        "conclusion": "failure",
        "started_at": _TIME,
        "completed_at": _TIME,
        "html_url": f"https://github.com/{REPOSITORY}/actions/runs/{RUN}/job/9",
        "steps": [{**step, "started_at": _TIME, "completed_at": _TIME}],
    }
    return 200, {"total_count": 1, "jobs": [job]}


def _logs() -> tuple[int, Any]:
    line = f"{_TIME} HOLD: the candidate's p95 is worse\n"
    return 200, _zip({"0_PROMOTE or HOLD.txt": line, "PROMOTE or HOLD/1_Compare.txt": line})


def _artifacts() -> tuple[int, Any]:
    url = f"https://api.github.com{_REPO}/actions/artifacts/7/zip"
    found = {"id": 7, "name": "canary-samples", "size_in_bytes": 1, "expired": False}
    return 200, {"total_count": 1, "artifacts": [{**found, "archive_download_url": url}]}


def _samples() -> tuple[int, Any]:
    files = {"base.lat": BASE, "cand.lat": CANDIDATE}
    return 200, _zip({name: "".join(f"{one}\n" for one in data) for name, data in files.items()})


def _zip(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return out.getvalue()


@contextmanager
def serving(address: str, context: SSLContext) -> Iterator[GitHub]:
    """api.github.com and hooks.slack.com, at port 443 of an address."""
    github = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url, host = urlsplit(self.path), self.headers["Host"]
            where = f"{self.command} {host}{url.path}"
            kind = self.headers.get("Content-Type", "")
            if where == f"POST hooks.slack.com{WEBHOOK}":
                return self._answer(*github.slack(kind, raw))
            if host != "api.github.com" or self.headers["Authorization"] != f"token {TOKEN}":
                github.unexpected.append(f"{where} {self.headers['Authorization']}")
                return self._answer(401, {"message": "Bad credentials"})
            query, body = dict(parse_qsl(url.query)), json.loads(raw) if raw else None
            return self._answer(*github.answer(self.command, url.path, query, body))

        def _answer(self, status: int, told: Any) -> None:
            if isinstance(told, bytes):
                kind, content = "application/zip", told
            elif isinstance(told, str):
                kind, content = "text/html", told.encode()
            else:
                kind, content = (
                    "application/json",
                    b"" if told is None else json.dumps(told).encode(),
                )
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815 - the standard library's names

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with loopback.serving(Handler, context, (address, 443)):
        yield github
