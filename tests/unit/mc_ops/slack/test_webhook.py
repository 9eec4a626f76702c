"""Messages reach a server that speaks Slack's webhook protocol, and failures say no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.loopback import serving

from mc_ops.slack import (
    Message,
    NotPosted,
    canary_message,
    delta_message,
    from_host,
    post,
    unfinished_message,
)

SECRET_PATH, PORTAL_PATH = "/services/T000/B000/s3cr3t", "/portal/s3cr3t"

VERDICT: dict[str, Any] = {
    "verdict": "HOLD",
    "kind": "regressed",
    "reason": "p95 +31.2% <!channel> & more",
    "rehearsal": True,
    "margin": 0.25,
    "baseline": {"n": 3000, "errors": 1, "p95_ms": 8.25},
    "candidate": {"n": 3000, "errors": 0, "p95_ms": 10.8},
    "regression": 0.312,
    "interval": [0.2, 0.4],
    "runbook": {"regression_percent": 30.9},
    "urls": {"baseline": ["http://a:1/"], "candidate": ["http://b:2/"]},
    "ended_at": "2025-01-01T00:00:00.000+00:00",
}

SPAN = "7d, of which 9 min are known"


@dataclass
class FakeSlack:
    """Slack's incoming webhook as documented: refuses what has neither text nor blocks.

    Attributes:
        busy: Status and `Retry-After` (if any) with which it answers the next requests instead.
    """

    url: str = ""
    busy: list[tuple[int, str]] = field(default_factory=list)
    posted: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def _serving(slack: FakeSlack) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if slack.busy:
                status, again = slack.busy.pop(0)
                self.send_response(status)
                if again:
                    self.send_header("Retry-After", again)
                self.end_headers()
                return
            status, text = self._judge(raw)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def _judge(self, raw: bytes) -> tuple[int, str]:
            if self.path == PORTAL_PATH:
                return 200, "<html>Please sign in to the network</html>"
            if self.path != SECRET_PATH:
                return 404, "no_service"
            if not self.headers["Content-Type"].startswith("application/json"):
                return 400, "invalid_payload"
            try:
                body = json.loads(raw)
            except ValueError:
                return 400, "invalid_payload"
            if not body.get("text") and not body.get("blocks"):
                return 400, "no_text"
            for block in body.get("blocks", []):
                texts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
                if any(text and not 0 < len(text["text"]) <= 3000 for text in texts):
                    return 400, "invalid_blocks"
            slack.posted.append(body)
            return 200, "ok"

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as slack.url:
        yield


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    """A Slack webhook on loopback."""
    fake = FakeSlack()
    with _serving(fake):
        yield fake


def test_post_canary_message_accepted(slack: FakeSlack) -> None:
    """The message has fallback text and blocks, the figures, and the rehearsal notice."""
    post(slack.url + SECRET_PATH, canary_message(VERDICT))
    (body,) = slack.posted
    assert body["text"].startswith("Canary: HOLD (rehearsal, margin 0.25)")
    shown = json.dumps(body["blocks"])
    for part in ("8.2 ms", "10.8 ms", "+31.2%", "1 of 3000 failed", "not the full verdict"):
        assert part in shown
    assert "<!channel>" not in shown


def test_post_smoke_verdict_without_figures_accepted(slack: FakeSlack) -> None:
    """A verdict without samples is posted too, its figures "not measured"."""
    nothing = {"n": 0, "errors": 0, "p95_ms": None}
    verdict = VERDICT | {
        "kind": "smoke",
        "reason": "x" * 5000,
        "baseline": nothing,
        "candidate": nothing,
        "regression": None,
        "interval": None,
        "runbook": None,
        "rehearsal": False,
    }
    post(slack.url + SECRET_PATH, canary_message(verdict))
    assert "not measured" in json.dumps(slack.posted)


OVERRIDE = {
    "by": "ann@platform",
    "reason": "known *bug* <!here> & wanted",
    "index": 7,
    "decision": "dec_1",
}


def test_post_override_says_who_and_why(slack: FakeSlack) -> None:
    """HOLD, overridden by whom, why, and where the ledger has it; no mention gets through."""
    link = "https://github.example.com/o/r/actions/runs/42"
    post(slack.url + SECRET_PATH, canary_message(VERDICT, override=OVERRIDE, link=link))
    (body,) = slack.posted
    assert body["text"].startswith(
        "Canary: HOLD (rehearsal, margin 0.25), overridden by ann@platform: known *bug* &lt;!here"
    )
    shown = json.dumps(body["blocks"], ensure_ascii=False)
    for part in (
        *("Overridden by ann@platform", "Ledger entry 7", "dec_1", "The verdict stays HOLD"),
        f"<{link}|Samples, report and log of this run>",
    ):
        assert part in shown
    assert "<!" not in shown + body["text"]
    assert "PROMOTE" not in shown + body["text"]


@pytest.mark.parametrize(
    "link", ["/home/x/runs/`r`|<!channel>", "https://x/<!channel>|y", "https://x/a b", "http://x"]
)
def test_link_of_anything_but_a_plain_https_url_is_text(slack: FakeSlack, link: str) -> None:
    """A folder, or a URL that would break out of Slack's link, is shown as it is."""
    post(slack.url + SECRET_PATH, canary_message(VERDICT, link=link))
    shown = json.dumps(slack.posted[0]["blocks"], ensure_ascii=False)
    assert "Samples and report: `" in shown
    assert "<!" not in shown
    assert "<http" not in shown


def test_metrics_are_told_if_there_are_any(slack: FakeSlack) -> None:
    """Together and each with its outcome; without metrics nothing is said of any."""
    metrics = {"outcome": "fail", "reason": "x & y", "metrics": {"p<5": "fail"}}
    post(slack.url + SECRET_PATH, canary_message(VERDICT | {"metrics": metrics}))
    post(slack.url + SECRET_PATH, canary_message(VERDICT | {"metrics": None}))
    told, plain = (json.dumps(body["blocks"], ensure_ascii=False) for body in slack.posted)
    assert "*Metrics: fail* - x &amp; y\\n• p&lt;5: *fail*" in told
    assert "Metrics" not in plain


def test_what_is_no_slack_has_taken_nothing(slack: FakeSlack) -> None:
    """A proxy's sign-in page is HTTP 200 as well; the message is not called posted."""
    with pytest.raises(NotPosted, match="not from a Slack webhook") as refused:
        post(slack.url + PORTAL_PATH, canary_message(VERDICT))
    assert "s3cr3t" not in f"{refused.value} {refused.value.hint}"


def test_post_bare_json_refused_by_slack(slack: FakeSlack) -> None:
    """The fake refuses what the runbook's curl sent: a body without text or blocks."""
    with pytest.raises(NotPosted, match="HTTP 400"):
        post(slack.url + SECRET_PATH, Message(text="", blocks=()))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/services/s3cr3t",
        "file:///s3cr3t",
        "s3cr3t",
        "http://[s3cr3t",
        "http://hooks.example.com/s3cr3t",
        "http://127.0.0.1:notaport/s3cr3t",
        "http://127.0.0.1:9/s3cr3t with space",
    ],
)
def test_post_failure_never_shows_url(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever goes wrong, the webhook's URL is in no error, log or output."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NotPosted) as caught:
        post(url, canary_message(VERDICT))
    told = f"{caught.value.message} {caught.value.hint} {caplog.text} {capfd.readouterr()}"
    assert "s3cr3t" not in told
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_post_revoked_webhook_told(slack: FakeSlack) -> None:
    """A webhook that Slack does not know is told by its status."""
    with pytest.raises(NotPosted, match="HTTP 404"):
        post(slack.url + "/gone", canary_message(VERDICT))


def test_words_of_a_candidate_become_no_link_and_no_mention() -> None:
    """An outcome that a failed smoke check quotes is shown as it is: Slack parses none of it."""
    said = VERDICT | {"reason": 'outcome "@channel https://example.com/login"'}
    blocks = canary_message(said, override=OVERRIDE, link="https://example.com/1").blocks
    texts = [
        part
        for block in blocks
        for part in (block.get("text"), *block.get("fields", ()), *block.get("elements", ()))
        if part and part["type"] == "mrkdwn"
    ]
    assert len(texts) > 4
    assert all(text["verbatim"] for text in texts)


@pytest.mark.parametrize("again", ["0", "Mon, 01 Jan 2024 00:00:00 GMT"])
def test_a_busy_slack_is_asked_again(slack: FakeSlack, again: str) -> None:
    """When it says so, in seconds or by a date; both 429 and a failure of its own pass."""
    slack.busy = [(429, again), (503, again), (500, again)]
    post(slack.url + SECRET_PATH, canary_message(VERDICT))
    assert len(slack.posted) == 1


def test_a_slack_that_wants_to_be_left_alone_is_not_waited_for(slack: FakeSlack) -> None:
    """Longer than the bound, or for ever: the message is not posted, and when to try is said."""
    slack.busy = [(429, "3600")]
    with pytest.raises(NotPosted, match="HTTP 429") as refused:
        post(slack.url + SECRET_PATH, canary_message(VERDICT))
    assert "3600 s" in refused.value.hint
    slack.busy = [(502, "")]
    with pytest.raises(NotPosted, match="HTTP 502"):
        post(slack.url + SECRET_PATH, canary_message(VERDICT), patience_s=0.5)
    slack.busy = [(429, "0")] * 4
    with pytest.raises(NotPosted, match="HTTP 429"):
        post(slack.url + SECRET_PATH, canary_message(VERDICT))
    assert slack.posted == []


def test_why_slack_refuses_is_shown(slack: FakeSlack) -> None:
    """Its word for it, `invalid_blocks`, and nothing that is longer."""
    wrong = {"type": "section", "text": {"type": "mrkdwn", "text": ""}}
    with pytest.raises(NotPosted, match=r"HTTP 400 \(invalid_blocks\)"):
        post(slack.url + SECRET_PATH, Message(text="x", blocks=(wrong,)))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(400, "report it"), (403, "revoked"), (410, "archived"), (302, "a proxy")],
)
def test_what_to_do_about_a_refusal_depends_on_it(
    slack: FakeSlack, status: int, remedy: str
) -> None:
    """A message that is wrong is not mended by another webhook."""
    slack.busy = [(status, "")]
    with pytest.raises(NotPosted, match=f"HTTP {status}") as refused:
        post(slack.url + SECRET_PATH, canary_message(VERDICT))
    assert remedy in refused.value.hint


def test_what_decides_survives_a_text_that_is_too_long(slack: FakeSlack) -> None:
    """The metric that failed among a hundred, and the digest of a delta's file."""
    metrics = {f"m{n:03}" + "x" * 60: "pass" for n in range(100)} | {"the-cause": "fail"}
    judged = {"outcome": "fail", "reason": "&" * 4000, "metrics": metrics}
    post(
        slack.url + SECRET_PATH, canary_message(VERDICT | {"metrics": judged, "reason": "&" * 3000})
    )
    delta = {
        "period": "day7",
        "timestamp": "2026-12-01T00:00:00Z",
        "window": "7d",
        "source": {"kind": "prometheus", "span": SPAN, "notes": ["n" * 1000] * 5},
        "metrics": {"siem": 1.0, "p95": None},
        "figures": {
            "siem": {"verdict": "met", "unit": "ratio", "target": ">= 95 %", "window": "15m"},
            "p95": {"verdict": "unknown", "reason": "nothing happened"},
        },
        "trend": {},
    }
    digest = "ab" * 32
    told = delta | {"period": "p" * 5000}
    for one in (delta, told):
        message = delta_message(
            one, shown=lambda value, unit: f"{value} {unit}", sha256=digest, file="f" * 3000
        )
        post(slack.url + SECRET_PATH, from_host(message, "ops-<1>"))
    canary, *deltas = slack.posted
    assert "• the-cause: *fail*" in json.dumps(canary["blocks"], ensure_ascii=False)
    for body in deltas:
        assert digest in body["text"]
        assert digest in body["blocks"][-2]["elements"][0]["text"]
        assert f"2026-12-01T00:00:00Z, {SPAN}, from prometheus" in str(body["blocks"][-2])
        assert "siem: *1.0 ratio* (target &gt;= 95 %, 15m)" in str(body["blocks"][1])
        assert body["blocks"][-1]["elements"][0]["text"] == "from ops-&lt;1&gt;"
        assert "0 targets missed, 1 figure not known" in body["text"]
    for body in slack.posted:
        whole = (
            json.dumps(body, ensure_ascii=False)
            .replace("&amp;", "")
            .replace("&lt;", "")
            .replace("&gt;", "")
        )
        assert "&" not in whole, "no half of an escaped character is left"


def test_a_run_without_a_verdict_is_posted(slack: FakeSlack) -> None:
    """Why, what to do, and where it ran; a folder of any name, which no UTF-8 has, is shown."""
    post(
        slack.url + SECRET_PATH,
        unfinished_message("interrupted after 7 <pairs>", hint="again", link="/runs/\udcff"),
    )
    (body,) = slack.posted
    assert body["text"] == "Canary: no verdict: interrupted after 7 &lt;pairs&gt;"
    assert "/runs/?" in json.dumps(body["blocks"])
