"""The logs: read by time, followed, and put aside while they are written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from mc_contract.log_lines import FILE_SETTING, LogOutput, aside_of, framed, trace_id
from mc_ops.environments import LogFilter, LogLine
from mc_ops.environments.local import log_writer
from mc_ops.environments.local.logs import read_logs
from mc_ops.errors import UnusableInput

FOLLOW = LogFilter(follow=True)
WRITES = """
import os, sys
from pathlib import Path
from mc_contract.log_lines import FILE_SETTING, LogOutput
output = LogOutput(Path(os.environ[FILE_SETTING]), most_bytes=5000)
number = 0
for count in sys.stdin:
    for _ in range(int(count)):
        output.write(f'{{"event": "{number}"}}\\n')
        number += 1
    os.write(2, b'{"event": "raw"}\\n')
"""


def at(second: int) -> str:
    return datetime(2026, 12, 1, 10, 0, second, tzinfo=UTC).isoformat()


def line(event: str, second: int) -> str:
    return f"{json.dumps({'event': event, 'at': at(second)})}\n"


def told(folder: Path, *names: str, wanted: LogFilter) -> list[str]:
    """What the lines say, with their processes."""
    found = []
    for item in read_logs({"": folder}, names, wanted):
        fields = json.loads(item.text)
        found.append(f"{item.name} {fields.get('text', fields['event'])}")
    return found


def following(folder: Path, *names: str) -> closing[Iterator[LogLine]]:
    return closing(cast("closing[Iterator[LogLine]]", read_logs({"": folder}, names, FOLLOW)))  # type: ignore[type-var]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Logs of three processes; one was put aside, one has lines of somebody else."""
    aside_of(tmp_path / "blue-1.log").write_text(line("a", 1) + line("c", 3))
    (tmp_path / "blue-1.log").write_text(line("e", 5))
    (tmp_path / "edge.log").write_text(
        line("b", 2) + "Traceback:\n  ValueError\n" + line("d", 4) + line("out of turn", 3)
    )
    (tmp_path / "siem.log").write_text("")
    return tmp_path


def test_lines_come_by_time_over_processes_and_stay_behind_their_predecessors(folder: Path) -> None:
    """One without a time, or with a time that goes back, stays where its process wrote it."""
    everything = LogFilter(lines=None)
    assert told(folder, wanted=everything) == [
        "blue-1 a", "edge b", "edge Traceback:", "edge   ValueError", "blue-1 c", "edge d",
        "edge out of turn", "blue-1 e",
    ]  # fmt: skip
    assert told(folder, "blue-1", "siem", wanted=everything) == ["blue-1 a", "blue-1 c", "blue-1 e"]


def test_lines_are_chosen_by_number_time_and_pattern(folder: Path) -> None:
    """The last ones are the last of those that are wanted."""
    since_s = datetime.fromisoformat(at(4)).timestamp()
    assert told(folder, wanted=LogFilter(lines=1)) == ["edge out of turn", "blue-1 e"]
    assert told(folder, wanted=LogFilter(lines=None, since_s=since_s))[-1] == "blue-1 e"
    assert "blue-1 c" not in told(folder, wanted=LogFilter(lines=None, since_s=since_s))
    only = LogFilter(lines=1, pattern=re.compile("Error|c"))
    assert told(folder, wanted=only) == ["edge   ValueError", "blue-1 c"]
    assert told(folder, wanted=LogFilter(lines=0)) == []
    with pytest.raises(UnusableInput, match='no log of "blue"') as caught:
        told(folder, "blue", wanted=only)
    assert caught.value.hint == "known: blue-1, edge, siem"


def test_a_line_that_is_being_written_is_told_once_and_whole(tmp_path: Path) -> None:
    """Following, an unfinished line waits for its end; without following it is shown as it is."""
    log = tmp_path / "edge.log"
    log.write_bytes('one\n{"event": "é'.encode()[:-1])
    assert len(told(tmp_path, "edge", wanted=LogFilter(lines=5))) == 2
    with following(tmp_path) as lines:
        assert next(lines).text == framed("one")
        with log.open("ab") as file:
            file.write('é"}\n'.encode()[1:])
        assert next(lines).text == '{"event": "é"}'
        log.write_text("anew\n")
        assert next(lines).text == framed("anew")
        (tmp_path / "green-1.log").write_text(line("scaled up", 1))
        assert next(lines).name == "green-1"


def test_no_line_is_lost_or_torn_where_a_log_is_put_aside(tmp_path: Path) -> None:
    """Neither of what the loggers write nor of what others do; and the files stay small."""
    log = tmp_path / "blue-1.log"
    with log.open("ab") as file:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITES],
            env={FILE_SETTING: str(log)},
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            text=True,
        )
    assert writer.stdin is not None
    found: list[str] = []
    with writer, following(tmp_path) as lines:
        for _ in range(8):
            writer.stdin.write("100\n")
            writer.stdin.flush()
            found += [json.loads(next(lines).text)["event"] for _ in range(101)]
            assert log.stat().st_size < 6000
    assert [event for event in found if event != "raw"] == [str(number) for number in range(800)]
    both = told(tmp_path, wanted=LogFilter(lines=None))
    assert both[-1] == "blue-1 raw"
    assert len(both) > 100


def test_a_line_that_cannot_be_written_stops_no_work() -> None:
    """A full disk, a reader that left: the line is lost, and what wrote it goes on."""
    program = (
        "import os; from mc_contract.log_lines import LogOutput; "
        "os.close(1); LogOutput(None).write('x'); os._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7
    assert LogOutput(None).write("") == 0


def test_the_log_of_a_foreign_program_is_framed(tmp_path: Path) -> None:
    """Its time is when it came; its level is PostgreSQL's, which goes on for lines that continue one."""
    log = tmp_path / "postgres.log"
    text = "2026-12-01 [7] LOG:  ready\n2026-12-01 [8] FATAL:  no\n\tdetail\n"
    with log.open("ab") as file:
        subprocess.run(
            [sys.executable, "-m", log_writer.__name__],
            env={FILE_SETTING: str(log)},
            input=text.encode(),
            stdout=file,
            check=True,
        )
    lines = [json.loads(item.text) for item in read_logs({"": tmp_path}, (), LogFilter())]
    assert [item["level"] for item in lines] == ["info", "error", "error"]
    assert lines[2]["text"] == "\tdetail"
    assert all(datetime.fromisoformat(item["at"]).tzinfo for item in lines)


def test_only_a_well_formed_trace_id_is_told() -> None:
    """What a caller writes into its headers gets into no log otherwise."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert trace_id(f"00-{trace}-b7ad6b7169203331-01") == trace
    assert trace_id(f"00-{trace}-b7ad6b7169203331-01\n") is None
    assert trace_id("sesame") is trace_id(None) is None
