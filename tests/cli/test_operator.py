"""`mcctl operations` and `mcctl autonomy` as an operator types them, each in its own process."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from tests import forked
from tests.children import child

_SPEC = importlib.util.spec_from_file_location(
    "fake_operator", Path(__file__).parent / "fake_operator.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
fake_operator = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fake_operator)
_STYLE = re.compile("\x1b\\[[0-9;]*m")
event, operation = fake_operator.event, fake_operator.operation

# Only these groups, so that the transcripts do not depend on the other groups' modules.
MCCTL = [forked.MCCTL]


class Shell:
    """A terminal of an operator whose service is `fake`."""

    def __init__(self, fake: Any, url: str, home: Path) -> None:
        self.fake = fake
        self.url = url
        self.said = ""
        self.token_file = home / "operator.token"
        self.token_file.write_text(fake.token + "\n")
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.env = kept | {
            "MC_HOME": str(home / "mc"),
            "MC_TOKEN_FILE": str(self.token_file),
            "NO_COLOR": "1",
            "COLUMNS": "250",
        }

    def run(self, *args: str, url: bool = True) -> subprocess.CompletedProcess[str]:
        """Run with nobody at the terminal."""
        where = ["--url", self.url] if url else []
        return forked.run([*MCCTL, *args, *where], env=self.env)

    def typed(self, answer: str, *args: str) -> int:
        """Run at a terminal where somebody types `answer`; gives the exit code.

        What stood on stderr is in `said`.
        """
        leader, follower = pty.openpty()
        try:
            with child(
                [*MCCTL, *args, "--url", self.url],
                env=self.env,
                stdin=follower,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as started:
                os.write(leader, answer.encode() + b"\n")
                self.said = started.communicate(timeout=60)[1].decode()
                return started.returncode
        finally:
            os.close(leader)
            os.close(follower)

    def seen(self, columns: int, *args: str) -> list[str]:
        """The lines that a terminal of that width is sent on stdout."""
        leader, follower = pty.openpty()
        sent = b""
        try:
            with child(
                [*MCCTL, *args, "--url", self.url],
                env=self.env | {"COLUMNS": str(columns), "TERM": "xterm"},
                stdin=subprocess.DEVNULL,
                stdout=follower,
                stderr=subprocess.DEVNULL,
            ) as started:
                os.close(follower)
                with suppress(OSError):  # how the end of a terminal is told
                    while part := os.read(leader, 65536):
                        sent += part
                started.wait(60)
        finally:
            os.close(leader)
        return [_STYLE.sub("", line) for line in sent.decode().splitlines()]

    def changes(self) -> list[tuple[str, Any]]:
        """What was asked to be changed, with its body."""
        return [(path, body) for method, path, _, body in self.fake.asked if method == "POST"]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    fake = fake_operator.FakeOperator()
    with ExitStack() as stack:
        yield Shell(fake, stack.enter_context(fake_operator.serving(fake)), tmp_path)


TIMELINE = [
    event(3, "request.accepted", 0, principal="agent@tenant-001"),
    event(4, "operation.started", 0.004),
    event(5, "step.intended", 0.01, step=0, action="reserve-stock"),
    event(6, "step.done", 0.5, step=0, action="reserve-stock", attempts=1, effect="landed"),
    event(7, "step.intended", 0.51, step=1, action="charge-payment"),
    event(8, "step.failed", 1.25, step=1, action="charge-payment", attempts=3, reason="HTTP 409"),
    event(9, "compensation.intended", 1.26, step=0, action="reserve-stock"),
    event(10, "compensation.done", 2.4, step=0, action="reserve-stock", attempts=1),
    event(11, "operation.compensated", 2.5, effects=1, effects_undone=1, reason="HTTP 409"),
]


def test_list_shows_a_line_an_operation_and_where_to_go_on(shell: Shell) -> None:
    """Filters are sent as they are told; the next page is on stderr, the result on stdout."""
    done = shell.run(
        "operations", "list", "--tenant", "TENANT_001", "--state", "stuck", "--limit", "2"
    )
    assert done.returncode == 0
    heading, first, second = done.stdout.splitlines()
    assert heading.split()[:4] == ["ID", "TENANT", "OPERATION", "STATE"]
    assert "… running" in first
    assert "running on blue-2" in first
    assert "✘ stuck" in second
    assert "1 of 2" in second
    assert "--before 't~x'" in done.stderr
    [(_, path, query, _)] = shell.fake.asked
    assert path == "/operator/operations"
    assert query == {"tenant": ["TENANT_001"], "state": ["stuck"], "limit": ["2"]}


def test_list_since_takes_durations_and_times(shell: Shell) -> None:
    """24h becomes a time with a zone; nonsense is a usage error that asks nobody."""
    assert shell.run("operations", "list", "--since", "24h", "-o", "json").returncode == 0
    [(_, _, query, _)] = shell.fake.asked
    assert query["since"][0].endswith("+00:00")
    done = shell.run("operations", "list", "--since", "yesterday")
    assert (done.returncode, done.stdout) == (2, "")
    assert '--since is "yesterday"' in done.stderr
    assert len(shell.fake.asked) == 1


def test_a_tenant_without_operations_is_no_error(shell: Shell) -> None:
    """One that the catalogue has, unlike one that it has not."""
    shell.fake.found = []
    done = shell.run("operations", "list", "--tenant", "TENANT_001")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no operations" in done.stderr


LONG = {
    "id": "6f0f7c4e-0a52-4b7e-9a57-1d4a5d1f6c11",
    "tenant": "TENANT_OF_A_LONG_NAME",
    "operation": "close-the-books-of-the-quarter",
    "canceled": True,
}


def test_a_list_is_never_cut_short(shell: Shell) -> None:
    """A pipe of 80 columns gets a line each; a terminal of 80 two lines, none of them wider."""
    shell.fake.found = [operation(**LONG)]
    shell.env["COLUMNS"] = "80"
    _, line = shell.run("operations", "list").stdout.splitlines()
    for text in (LONG["id"], LONG["tenant"], LONG["operation"], "running (canceled)", "blue-2"):
        assert text in line
    first, second = shell.seen(80, "operations", "list")
    assert first.startswith(f"{LONG['id']}  … running (canceled), started ")
    assert second == f"    {LONG['operation']} of {LONG['tenant']}, running on blue-2"
    assert max(len(first), len(second)) <= 80


def test_the_screen_of_an_emergency_is_read_at_80_columns(shell: Shell) -> None:
    """Scope, halted or on, since, by whom, and the whole reason, broken between words."""
    reason = "orders go to the wrong address, " * 6
    shell.fake.reason = reason.strip(", ")
    shell.run("autonomy", "halt", "--tenant", "TENANT_001", "--reason", "x", "--yes")
    lines = shell.seen(80, "autonomy", "status")
    assert max(len(line) for line in lines) <= 80
    at = next(number for number, line in enumerate(lines) if line.startswith("TENANT_001"))
    assert lines[at].split()[:6] == ["TENANT_001", "✘", "halted", "60", "m", "ago"]
    assert lines[at + 1] == "    halted 2026-05-06 11:00:00Z by operator@platform (operator)"
    assert " ".join(line.strip() for line in lines[at + 2 :]) == f"why: {shell.fake.reason}"


def test_show_tells_who_resolved_it(shell: Shell) -> None:
    """By whom, when and how, above the timeline."""
    resolved = event(9, "operation.resolved", 30, mode="accept", principal="operator@platform")
    shell.fake.story = [{"operation": operation("resolved"), "timeline": [*TIMELINE, resolved]}]
    head = shell.run("operations", "show", "op-1").stdout.partition("\n\n")[0]
    assert "resolved   by operator@platform at 2026-05-06 12:00:30.000Z (accept)" in head


def test_show_tells_the_story_in_order(shell: Shell) -> None:
    """Absolute and relative times, step, attempts and outcome of each event."""
    shell.fake.story = [{"operation": operation("compensated"), "timeline": TIMELINE}]
    done = shell.run("operations", "show", "op-1")
    assert done.returncode == 0
    assert done.stderr == ""
    head, _, story = done.stdout.partition("\n\n")
    assert "state      compensated" in head
    assert "ended      2026-05-06 12:00:02.500Z (took 2.500 s)" in head
    assert [line.partition("  ")[2].strip() for line in story.splitlines()] == [
        "+0.000 s  · request.accepted  principal agent@tenant-001",
        "+0.004 s  · operation.started",
        "+0.010 s  … step.intended 1 reserve-stock",
        "+0.500 s  ✔ step.done 1 reserve-stock  attempts 1, effect landed",
        "+0.510 s  … step.intended 2 charge-payment",
        "+1.250 s  ✘ step.failed 2 charge-payment  attempts 3, HTTP 409",
        "+1.260 s  … compensation.intended 1 reserve-stock",
        "+2.400 s  ✔ compensation.done 1 reserve-stock  attempts 1",
        "+2.500 s  ↩ operation.compensated  effects 1, effects undone 1, HTTP 409",
    ]
    assert story.startswith("2026-05-06 12:00:00.000Z")


def test_show_never_steers_the_terminal(shell: Shell) -> None:
    """A reason that a receiver wrote is text, whatever it holds."""
    hostile = event(1, "step.failed", 0, step=0, action="a", reason="\x1b[2J[red]x[/red]\nforged")
    shell.fake.story = [{"operation": operation("stuck"), "timeline": [hostile]}]
    done = shell.run("operations", "show", "op-1")
    assert "\x1b" not in done.stdout
    assert "[red]x[/red] forged" in done.stdout
    assert "--mode retry" in done.stderr


def test_show_as_json_is_what_the_service_said(shell: Shell) -> None:
    """With a schema version."""
    told = json.loads(shell.run("operations", "show", "op-1", "-o", "json").stdout)
    assert told == {"schema_version": 1, "operation": operation(), "timeline": []}


@pytest.mark.parametrize(
    ("state", "code"),
    [("completed", 0), ("resolved", 0), ("compensated", 1), ("stuck", 1), ("failed", 1)],
)
def test_watch_follows_to_the_end_whose_exit_code_it_takes(
    shell: Shell, state: str, code: int
) -> None:
    """Each event is told once, as it comes; so is a change of the engine's word."""
    queued = operation(engine={"phase": "queued", "replica": "", "version": "1.0"})
    shell.fake.story = [
        {"operation": queued, "timeline": TIMELINE[:1]},
        {"operation": queued, "timeline": TIMELINE[:1]},
        {"operation": operation(), "timeline": TIMELINE[:4]},
        {"operation": operation(state), "timeline": TIMELINE},
    ]
    done = shell.run("operations", "watch", "op-1")
    assert done.returncode == code
    lines = done.stdout.splitlines()
    assert sum("request.accepted" in line for line in lines) == 1
    assert [line for line in lines if line.startswith("engine")] == [
        "engine: queued: waits for its turn",
        "engine: running on blue-2",
    ]
    assert len(lines) == len(TIMELINE) + 3
    assert lines[-1].endswith(state)


def test_watch_as_json_tells_a_line_each_time(shell: Shell) -> None:
    """JSON lines, for whoever pipes them."""
    shell.fake.story = [
        {"operation": operation(), "timeline": TIMELINE[:2]},
        {"operation": operation("completed"), "timeline": TIMELINE},
    ]
    done = shell.run("operations", "watch", "op-1", "-o", "json")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["operation"]["state"], second["operation"]["state"]) == ("running", "completed")
    assert first["schema_version"] == 1


def test_cancel_asks_the_service_with_the_reason(shell: Shell) -> None:
    """And tells how to see what comes of it."""
    done = shell.run("operations", "cancel", "op-1", "--reason", "wrong order", "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert "place-order of TENANT_001, running, running on blue-2" in done.stderr
    assert shell.changes() == [("/operator/operations/op-1/cancel", {"reason": "wrong order"})]


def test_resolve_sends_mode_and_reason(shell: Shell) -> None:
    """Accepting says that a person has dealt with it."""
    shell.fake.story = [{"operation": operation("stuck"), "timeline": []}]
    done = shell.run(
        "operations", "resolve", "op-1", "--mode", "accept", "--reason", "by hand", "--yes"
    )
    assert done.returncode == 0
    body = {"mode": "accept", "reason": "by hand"}
    assert shell.changes() == [("/operator/operations/op-1/resolve", body)]


RETRY = ("operations", "resolve", "op-1", "--mode", "retry", "--reason", "x", "--yes")


@pytest.mark.parametrize(
    ("resolution", "code", "told"),
    [
        ({"resolved": True, "standing": []}, 0, "ok    resolved\n"),
        ({"resolved": True, "standing": ["a"]}, 0, "ok    resolved; effects that remain: a\n"),
        (
            {"resolved": False, "standing": ["a", "b"]},
            1,
            "still stuck; effects that remain: a, b\n",
        ),
        ({"attempt": 1}, 3, "did not report how the resolution ended"),
    ],
)
def test_a_resolution_is_ok_only_when_it_resolved(
    shell: Shell, resolution: dict[str, Any], code: int, told: str
) -> None:
    """What still stands is a finding, also in JSON, whose object is printed all the same."""
    shell.fake.story = [{"operation": operation("stuck"), "timeline": []}]
    shell.fake.resolution = resolution
    done = shell.run(*RETRY)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert ("✔ ok" in done.stderr) == (code == 0)
    done = shell.run(*RETRY, "-o", "json")
    assert done.returncode == code
    assert json.loads(done.stdout)["resolution"] == resolution


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("resolved", "the operation has been resolved already"),
        ("running", "the operation is running; only a stuck one can be resolved"),
    ],
)
def test_what_cannot_be_resolved_is_not_asked_for(shell: Shell, state: str, told: str) -> None:
    """A finding, and the service is asked to change nothing."""
    shell.fake.story = [{"operation": operation(state), "timeline": []}]
    done = shell.run(*RETRY)
    assert done.returncode == 1
    assert told in done.stderr
    assert shell.changes() == []


@pytest.mark.parametrize(
    "args",
    [
        ("operations", "cancel", "op-1"),
        ("operations", "resolve", "op-1", "--mode", "retry", "--reason", "x"),
        ("autonomy", "halt", "--tenant", "TENANT_001", "--reason", "x"),
        ("autonomy", "resume", "--all", "--reason", "x"),
    ],
    ids=lambda args: " ".join(args[:2]),
)
def test_a_change_that_cannot_ask_is_a_usage_error(shell: Shell, args: tuple[str, ...]) -> None:
    """Nobody at the terminal and no --yes: nothing is changed."""
    shell.fake.story = [
        {"operation": operation("stuck" if "resolve" in args else "running"), "timeline": []}
    ]
    done = shell.run(*args)
    assert done.returncode == 2
    assert (
        "confirmation is needed, and standard input is not a terminal\n  → repeat with --yes\n"
        in done.stderr
    )
    assert shell.changes() == []


def test_halting_a_tenant_is_confirmed_and_halting_all_is_typed_out(shell: Shell) -> None:
    """`y` is not enough for all of them; a no changes nothing and exits 5."""
    tenant = ("autonomy", "halt", "--tenant", "TENANT_001", "--reason", "x")
    everybody = ("autonomy", "halt", "--all", "--reason", "x")
    assert shell.typed("n", *tenant) == 5
    assert "declined; nothing was changed" in shell.said
    assert "error" not in shell.said
    assert shell.typed("y", *everybody) == 5
    assert 'Type "halt" to go on:' in shell.said
    assert "error" not in shell.said
    assert shell.typed("", *everybody) == 5
    assert shell.changes() == []
    assert shell.typed("y", *tenant) == 0
    assert shell.typed("halt", *everybody) == 0
    assert [body["scope"] for _, body in shell.changes()] == ["TENANT_001", "*"]


def test_halt_status_and_resume_tell_what_holds(shell: Shell) -> None:
    """Who is halted, by which switch, since when, and what the breaker counts."""
    halt = ("autonomy", "halt", "--tenant", "TENANT_001", "--reason", "orders go wrong", "--yes")
    assert "TENANT_001: halted now" in shell.run(*halt).stderr
    assert "halted already since 2026-05-06 11:00:00Z" in shell.run(*halt).stderr
    rows = shell.run("autonomy", "status").stdout.splitlines()
    assert rows[0].split() == ["SCOPE", "AUTONOMY", "SINCE", "COMPENSATED"]
    assert "✔ on" in rows[1]
    assert "3 of 200 (1.50 %)" in rows[1]
    assert "not counted" in rows[2]
    assert "✘ halted" in rows[3]
    assert "60 m ago" in rows[3]
    assert rows[4] == "    halted 2026-05-06 11:00:00Z by operator@platform (operator)"
    assert rows[5] == "    why: orders go wrong"
    shell.run("autonomy", "halt", "--all", "--reason", "x", "--yes")
    one = shell.run("autonomy", "status", "--tenant", "CANARY").stdout.splitlines()
    assert len(one) == 4
    assert "with all tenants, halted 2026-05-06 11:00:00Z by operator@platform" in one[2]
    resumed = shell.run("autonomy", "resume", "--all", "--reason", "mended", "--yes")
    assert "all tenants: resumed now" in resumed.stderr
    again = shell.run("autonomy", "resume", "--all", "--reason", "mended", "--yes")
    assert "all tenants: had no halt of its own to resume" in again.stderr
    told = json.loads(shell.run("autonomy", "status", "--all", "-o", "json").stdout)
    assert [scope["scope"] for scope in told["scopes"]] == ["*"]


MOVE = ("home", "move", "--reason", "x", "--yes", "--tenant")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("autonomy", "halt", "--reason", "x"), "--tenant, or all of them with --all"),
        (("autonomy", "halt", "--all", "--tenant", "T", "--reason", "x"), "--tenant, or all"),
        (("autonomy", "halt", "--all"), "--reason"),
        (("autonomy", "status", "--tenant", "TENANT_9"), 'unknown tenant "TENANT_9"'),
        (
            (*MOVE, "TENANT_001", "--to", "local-3"),
            "unknown region 'local-3'; nothing was moved\n  → known: local-1, local-2",
        ),
        ((*MOVE, "TENANT_9", "--to", "local-2"), "no home is kept of tenant 'TENANT_9'"),
        (("operations", "list", "--tenant", "TENANT_9"), "known: CANARY, TENANT_001"),
        (("operations", "show", ".."), "an id has 1 to 128"),
        (("operations", "list", "--state", "lost"), "invalid value"),
        (("operations", "list", "--since", "999999d"), '--since is "999999d"'),
        (("operations", "list", "--limit", "1_0"), "must be a whole number"),
    ],
)
def test_a_usage_error_says_what_is_wanted(shell: Shell, args: tuple[str, ...], told: str) -> None:
    """Exit 2, nothing on stdout, nothing changed."""
    shell.fake.found = []
    done = shell.run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert shell.changes() == []


@pytest.mark.parametrize(
    ("status", "code"), [(401, 4), (403, 4), (400, 2), (404, 2), (409, 1), (503, 3), (500, 3)]
)
def test_a_refusal_has_the_exit_code_of_its_kind(shell: Shell, status: int, code: int) -> None:
    """And the service's own words, with its hint."""
    error = {"code": "x", "message": "the service says why", "hint": "and what to do"}
    shell.fake.refusal = (status, {"error": error})
    done = shell.run("operations", "show", "op-1")
    assert (done.returncode, done.stdout) == (code, "")
    assert "the service says why" in done.stderr
    assert "and what to do" in done.stderr


def test_a_service_that_is_down_or_has_no_such_interface_is_told(shell: Shell) -> None:
    """Both: could not tell."""
    shell.fake.refusal = (404, "Not Found")
    done = shell.run("autonomy", "status")
    assert done.returncode == 3
    assert "has no operator interface" in done.stderr
    shell.url = "http://127.0.0.1:1"
    done = shell.run("autonomy", "status")
    assert done.returncode == 3
    assert "does not answer" in done.stderr


def test_the_token_comes_from_a_file_and_is_never_shown(shell: Shell) -> None:
    """A wrong one is refused without being repeated; an unreadable file is named."""
    shell.token_file.write_text("mc_ffffffffffff_" + "x" * 43)
    done = shell.run("autonomy", "status")
    assert done.returncode == 4
    assert "x" * 43 not in done.stderr + done.stdout
    shell.token_file.write_text("two words\n")
    done = shell.run("autonomy", "status")
    assert done.returncode == 4
    assert "two words" not in done.stderr
    shell.token_file.unlink()
    assert "cannot be read" in shell.run("autonomy", "status").stderr


def test_the_local_platforms_token_goes_to_the_local_platform_only(shell: Shell) -> None:
    """Without MC_TOKEN_FILE another service gets nothing; here the operator's own is used."""
    del shell.env["MC_TOKEN_FILE"]
    for elsewhere in (
        "https://elsewhere.example",
        "http://127.0.0.1:8080@elsewhere.example",
        "http://127.0.0.1.elsewhere.example",
    ):
        done = shell.run("autonomy", "status", "--url", elsewhere, url=False)
        assert done.returncode == 4, elsewhere
        assert "MC_TOKEN_FILE" in done.stderr
    done = shell.run("autonomy", "status", url=False)
    assert done.returncode == 3
    assert "mcctl up" in done.stderr
    secrets = Path(shell.env["MC_HOME"]) / "secrets"
    secrets.mkdir(parents=True)
    entry = {"tenant": "PLATFORM", "role": "operator", "principal": "operator@platform"}
    known = {"OPERATOR": entry | {"token": shell.fake.token}}
    (secrets / "credentials.json").write_text(json.dumps(known))
    assert shell.run("autonomy", "status").returncode == 0
