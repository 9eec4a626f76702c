"""`mcctl` itself: usage errors exit 2 and say so, wherever they are made."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pytest
from tests.forked import MCCTL
from typer import BadParameter, Context
from typer.testing import CliRunner

from mc_ops.backups import Backup, Store, make_key
from mc_ops.cli import main, output
from mc_ops.errors import CouldNotTell


def _run(*args):
    return subprocess.run([MCCTL, *args], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "args",
    [("bogus",), ("up", "--bogus"), ("canary", "judge"), ("evidence", "bogus"), ("runbook", "run")],
    ids=" ".join,
)
def test_usage_errors_exit_2_without_a_traceback(args):
    """An unknown verb or option, or a missing argument, is told as every error, with the help to read."""
    done = _run(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    error, remedy = done.stderr.splitlines()
    assert (error.startswith("✘ error "), remedy.startswith("  → mcctl ")) == (True, True)
    assert remedy.endswith(" --help")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", [("audit", "list"), ("audit", "tail"), ("policy", "denials")])
def test_a_time_that_is_none_is_told_before_a_platform_is_looked_for(verb, tmp_path, monkeypatch):
    """Exit 2 with the forms of a time; it was exit 3 for want of credentials."""
    monkeypatch.setenv("MC_HOME", str(tmp_path))
    done = _run(*verb, "--since", "yesterday")
    assert done.returncode == 2, done.stderr
    assert "'yesterday' is no time" in done.stderr


@pytest.mark.parametrize(
    "args", [("operations", "show", b"\xfc"), ("tenant", "list", "--url", b"http://\xed\xa0\x80")]
)
def test_a_value_that_is_no_utf_8_is_a_usage_error(args):
    """It could be sent, recorded and shown by nobody; a path may have such bytes."""
    done = _run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "must be UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
    done = _run("canary", "judge", b"\xfc", b"\xfd")
    assert (done.returncode, "cannot be read: No such file" in done.stderr) == (2, True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_a_verdict_survives_a_stdout_of_another_encoding(encoding, tmp_path):
    """What it lacks is escaped; the exit code is the verdict's."""
    (tmp_path / "a").write_text("0.1\n" * 400)
    command = [MCCTL, "canary", "judge", str(tmp_path / "a"), str(tmp_path / "a")]
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    assert "PROMOTE (promoted)" in done.stdout.decode(encoding)


def test_what_a_program_is_given_and_prints_is_utf_8_in_any_locale(tmp_path):
    """bash gets a block's text, and the policy command's report comes back, as they were written."""
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (tmp_path / "a.md").write_text(
        "```yaml runbook\nid: a\ntitle: A\n```\n\n```sh step=a\necho 'é →'\n```\n", encoding="utf-8"
    )
    for arguments in (("runbook", "lint", "a.md"), ("policy", "check", "a")):
        if arguments[0] == "policy":
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "a.cedar").write_text("permit(é, →);", encoding="utf-8")
        done = subprocess.run(
            [MCCTL, *arguments], capture_output=True, check=False, timeout=60, env=env, cwd=tmp_path
        )
        assert b"Traceback" not in done.stderr
        assert done.returncode in ((0,) if arguments[0] == "runbook" else (1, 2)), done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("options", ["", "-o json"])
def test_a_verdict_survives_closed_streams(closed, options, tmp_path):
    """PROMOTE is exit 0 and HOLD exit 1 although nobody hears; no file takes the closed one's number."""
    (tmp_path / "a").write_text("0.1\n" * 400)
    (tmp_path / "b").write_text("0.2\n" * 400)
    for candidate, code in (("a", 0), ("b", 1)):
        command = f'exec "{MCCTL}" canary judge a {candidate} {options} {closed}'
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def test_help_lists_every_verb():
    """`mcctl --help` knows all verbs, although each is imported only when it is wanted."""
    done = _run("--help")
    assert done.returncode == 0
    for verb in ("up", "down", "status", "logs", "scale", "wait", "cutover"):
        assert f"\n  {verb} " in done.stdout
    for group in ("canary", "evidence", "runbook", "preflight"):
        assert f"\n  {group} " in done.stdout


def _commands(command, path=()):
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
    else:
        for name, one in inner.items():
            yield from _commands(one, (*path, name))


@pytest.fixture
def commands():
    """Every verb, by its words."""
    return dict(_commands(main.load_all()))


def test_verbs_take_the_same_options(commands):
    """Who gives a reason or moves traffic can give --yes; who asks the service can say as whom; all can have JSON."""
    options = {
        verb: {one.opts[0]: one for one in command.params} for verb, command in commands.items()
    }
    with_reason = {verb for verb, known in options.items() if "--reason" in known}
    assert {"policy apply", "tenant declare", "credential revoke"} <= with_reason
    changing = {"cutover", "down", "runbook run", "audit archive", *with_reason}
    reading = {"privacy reveal"}  # what is recorded of it is no change
    assert {verb for verb in changing - reading if "--yes" not in options[verb]} == set()
    # By the database's administrator, beside the service: there is nobody to show a token to
    beside = {"backup restore", "tenant erase"}
    assert {verb for verb in with_reason - beside if "--as" not in options[verb]} == set()
    asking = {verb for verb, known in options.items() if "--url" in known} - {"evidence pack"}
    assert {verb for verb in asking if "--as" not in options[verb]} == set()
    # What they print is a text, a key, a hash or a document as it is, or a server's log
    as_it_is = {
        "logs", "canary serve", "evidence verify", "audit verifier-key", "credential prepare",
        "privacy reveal", "break-glass task",
    }  # fmt: skip
    assert {verb for verb, known in options.items() if "--output" not in known} == as_it_is
    optional = {verb for verb in with_reason if not options[verb]["--reason"].required}
    assert optional == {"operations cancel", "runbook approve", "backup restore"}


def test_every_number_among_the_options_is_read_strictly(commands):
    """`8_0` is no number, as in settings; an option added tomorrow is read so as well."""
    tried = 0
    for command in commands.values():
        for option in command.get_params(Context(command)):
            kind = option.type_descriptor.annotation
            kind = (get_args(kind) or (kind,))[0]
            if not (isinstance(kind, type) and issubclass(kind, int | float)) or kind is bool:
                continue
            tried += 1
            # The last two are more than a sleep, and than the system's own numbers, can take
            for text in ("8_0", " 80", "+80", "٨٠", "nan", "1e300", "9" * 20):
                value = [text] if option.multiple else text
                told = r"must be a (whole )?number, such as|is above [0-9]+"
                with pytest.raises(BadParameter, match=told):
                    option.get_runtime_param().coerce(value, option, Context(command))
    assert tried > 30


def test_version_is_the_packages():
    """`mcctl --version` prints the version alone."""
    from importlib.metadata import version

    assert _run("--version").stdout.strip() == version("mc-platform")


def _calm(tmp_path, form, stdout):
    """A playbook that finds nothing, with its output sent there."""
    series = tmp_path / "calm.csv"
    series.write_text("time,replicas\n0,3\n7200,3\n", encoding="utf-8")
    return subprocess.run(
        [MCCTL, "incident", "hpa-oscillation", "--series", str(series), "--output", form],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_reader_who_goes_away_changes_no_exit_code(tmp_path, form):
    """As `| head -1` does; nothing was found, so it is 0."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = _calm(tmp_path, form, closed)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", [("logs",), ("privacy", "scan", "-")])
@pytest.mark.parametrize(("redirected", "code"), [("| :", 0), (">/dev/full", 3), (">&-", 0)])
def test_lines_that_nobody_takes_are_no_finding(tmp_path, verb, redirected, code):
    """Exit 1 would be one, and a traceback our defect; only what could not be written is told."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "blue-1.log").write_text("a line\n" * 100_000)
    script = f'set -o pipefail; "$0" "$@" {redirected}'
    done = subprocess.run(
        ["bash", "-c", script, MCCTL, *verb],
        input='{"id": "1", "text": "hello"}\n' * 3,
        env={**os.environ, "MC_HOME": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("No space left on device" in done.stderr) is (code == 3)


@pytest.mark.parametrize("form", ["table", "json"])
def test_output_that_cannot_be_written_is_told_without_a_traceback(tmp_path, form):
    """A full disk: nobody can read what was found."""
    with Path("/dev/full").open("wb") as full:
        done = _calm(tmp_path, form, full)
    assert done.returncode == 3
    assert "the output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_number_that_json_has_not_is_told(capsys):
    """A hostile or broken source may tell numbers of which the sum is infinite."""
    with pytest.raises(CouldNotTell, match="infinite or undefined"):
        output.emit_json({"sum": math.inf})
    assert capsys.readouterr().out == ""


def test_a_working_folder_that_is_gone_is_told(tmp_path):
    """It was "the system: No such file or directory"."""
    (tmp_path / "gone").mkdir()
    script = 'cd "$1/gone" && rmdir "$1/gone" && exec "$0" status'
    done = subprocess.run(
        ["sh", "-c", script, MCCTL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "✘ error the current folder: No such file or directory",
        "  → go to a folder that is there",
    ]


def test_text_from_elsewhere_cannot_break_the_terminal_or_the_stream(capsys):
    """Neither by commands, nor by turning text round, nor by what is no UTF-8."""
    output.stdout.print("a\x1b[31m\u2067\u200f\u202e\udcffb", markup=False)
    assert capsys.readouterr().out == "a\ufffd[31m\ufffd\ufffd\ufffd\ufffdb\n"


def test_a_fault_of_our_own_is_no_finding(monkeypatch, capsys):
    """An error that nobody foresaw is shown for who mends it, and is exit 3: exit 1 tells a HOLD."""

    def broken(_first):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(main, "load", broken)
    monkeypatch.setattr(sys, "argv", ["mcctl", "status"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 3
    said = capsys.readouterr().err
    assert "RuntimeError: unforeseen" in said
    assert "mcctl failed because of a defect of its own; there is no result" in said


# Each command in a fork of one that has loaded `mcctl` alone
_MODULES_OF = """
import json, os, sys
from mc_ops.cli import main
for argv in json.loads(sys.argv[1]):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["mcctl", *argv]
        try:
            main.main()
        finally:
            lazy = "_LazyModule"
            loaded = [name for name, module in sys.modules.items() if type(module).__name__ != lazy]
            os.write(writer, json.dumps(loaded).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        print(told.read())
"""
_HEAVY = {"pydantic", "aiohttp", "asyncio", "asyncpg", "cryptography", "httpx", "numpy", "psutil"}


def _loaded_by(*asked):
    """The modules that each command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", _MODULES_OF, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_and_usage_errors_load_no_heavy_library():
    """They answer at once: each of these libraries takes 0.05 to 0.3 CPU-seconds to load."""
    asked = [
        ("--help",),
        ("--version",),
        ("bogus",),
        ("up", "--bogus"),
        ("up", "--colour", "pink"),
        ("up", "--replicas", "1_0"),
        ("operations", "show"),
        ("policy", "apply", "--help"),
        *((name, "--help") for name in (*main.VERBS, *main.GROUPS)),
    ]
    for args, loaded in zip(asked, _loaded_by(*asked), strict=True):
        assert {name.partition(".")[0] for name in loaded} & _HEAVY == set(), args
        assert "mc_ops.cli.main" in loaded
        assert len(loaded) < 300, (args, "modules")


def test_the_status_of_what_does_not_run_loads_no_client(tmp_path, monkeypatch):
    """Who asks it in a loop waits for what it imports: structlog and httpx were as much as all else of it."""
    monkeypatch.setenv("MC_HOME", str(tmp_path))
    [modules] = _loaded_by(("status",))
    loaded = {name.partition(".")[0] for name in modules}
    assert loaded & (_HEAVY | {"structlog"}) == {"psutil"}


def _completed(words: str, **env: str) -> list[str]:
    asked = {"_MCCTL_COMPLETE": "complete_bash", "COMP_WORDS": words}
    asked["COMP_CWORD"] = str(words.count(" "))
    done = subprocess.run(
        [MCCTL],
        env=os.environ | asked | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_completion_lists_the_commands_without_loading_them():
    """A shell asks this at every press of the tab key."""
    assert _completed("mcctl pol") == ["policy"]


AT = "2026-12-01T00:00:00+00:00"


def test_completion_knows_the_names_of_tenants_runs_and_backups(tmp_path):
    """Each from where its verb looks it up; without a platform there are no operations, and no error."""
    for name in ("runs/day-0-1", "runs/canary-2", "elsewhere/half.unfinished"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs" / ".lock").touch()
    began = dict.fromkeys(("runbook_path", "runbook_sha256", "root", "environment"), "x")
    began |= {"event": "run_started", "at": AT, "run_id": "day-0-1", "runbook": "day-0"}
    (tmp_path / "runs/day-0-1/journal.jsonl").write_text(
        json.dumps(began | {"seq": 0, "parameters": {}}) + "\n"
    )
    store, key = Store(tmp_path / "elsewhere"), make_key(tmp_path / "backup.key")
    store.unfinished("2026-12-01").mkdir()
    store.finish(Backup("2026-12-01", *"12345", AT, 7, 8), key)
    home = {"MC_HOME": str(tmp_path), "MC_BACKUP_DIR": str(store.folder)}
    assert "TENANT_001" in _completed("mcctl audit list --tenant TENANT_0", **home)
    assert "TENANT_001" in _completed("mcctl tenant erase ", **home)
    assert _completed("mcctl runbook run --resume day-0 d", **home) == ["day-0-1"]
    assert _completed("mcctl runbook run day-0 ", **home) == ["day-0-1"]
    assert sorted(_completed("mcctl canary override ", **home)) == ["canary-2", "day-0-1"]
    assert _completed("mcctl backup verify ", **home) == ["2026-12-01"]
    assert _completed("mcctl backup restore --backup ", **home) == ["2026-12-01"]
    assert _completed("mcctl runbook lint day-", **home) == ["day-0", "day-1", "day-7"]
    assert _completed("mcctl operations show ", **home) == []
    for name in ("log/edge.log", "region-2/log/edge.log"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert _completed("mcctl logs ", **home) == ["edge", "region-2/edge"]
    assert _completed("mcctl drill run --scenario fr", **home) == ["freeze"]


def test_an_option_that_is_unknown_is_told_with_those_like_it():
    """And with no others: half the letters are no likeness."""
    assert _error("operations", "list", "--tennant", "x").startswith(
        "✘ error no such option: --tennant; did you mean --tenant?\n"
    )
    assert _error("scale", "agent-workbench", "--yes").startswith("✘ error no such option: --yes\n")
    assert _error("cutover").startswith("✘ error missing option '--to'. Choose from: blue, green\n")


def test_defaults_that_stand_twice_are_the_same():
    """Help is shown without loading the rooms, so it has copies of their defaults."""
    from mc_ops import canary, redteam
    from mc_ops.cli import canary as canary_verbs
    from mc_ops.cli import redteam as redteam_verbs
    from mc_ops.incidents.canary_hold import files

    assert canary_verbs.DEFAULT_RATE == canary.DEFAULT_RATE == files.DEFAULT_RATE
    for name in ("DEFAULT_ATTACKS", "DEFAULT_BENIGN", "DEFAULT_WORDINGS"):
        assert getattr(redteam_verbs, name) == getattr(redteam, name), name


def test_the_purposes_of_keys_are_those_of_the_keyring():
    """`mcctl keys` names them itself: what knows them takes long to load."""
    from mc_contract.keyring import Purpose
    from mc_ops.cli import keys
    from mc_ops.keys import SIGNING

    assert (*(purpose.value for purpose in Purpose), SIGNING) == keys._PURPOSES


def _error(*args):
    done = _run(*args)
    assert done.returncode == 2
    return done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("dwn",), ("cutove",), ("scal",), ("upp",), ("runbook", "rn"),
        ("operations", "cancl"), ("policy", "aply"), ("policy", "rolback"), ("backup", "creat"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_suggestion_names_what_changes_something(args):
    """Whoever repeats what is suggested may lose nothing by it."""
    assert "did you mean" not in _error(*args)


@pytest.mark.parametrize(
    ("args", "meant"),
    [(("statu",), "'status'"), (("polcy",), "'policy'"), (("audit", "lis"), "'list'")],
)
def test_a_mistyped_verb_that_changes_nothing_is_suggested(args, meant):
    """Groups too: by themselves they show their help."""
    assert f"did you mean {meant}?" in _error(*args)


def test_help_has_every_command_under_one_heading_and_cuts_no_line():
    """Of `mcctl` and of each group."""
    names = [name for names in main.HEADINGS.values() for name in names]
    assert sorted(names) == sorted({**main.VERBS, **main.GROUPS})
    for args in ([], ["audit"], ["policy"], ["break-glass"], ["canary"]):
        told = CliRunner().invoke(main.app, [*args, "--help"]).stdout
        assert "..." not in told.replace("[ARGS]...", "")
    assert (
        "Verify the ledger against its signed checkpoints; exit 1 if it was changed."
        in " ".join(CliRunner().invoke(main.app, ["audit", "--help"]).stdout.split())
    )


def test_the_version_is_told_as_json():
    """That of the installed package."""
    done = CliRunner().invoke(main.app, ["version", "-o", "json"])
    assert json.loads(done.stdout)["mcctl"] == version("mc-platform")
