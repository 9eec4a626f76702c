"""The operations runbook, read into its lines; what is known of each (`lines.toml`), and the page of it.

A line is a whole command as a shell takes it, of several lines where it is a loop or ends in a
heredoc, or one alert of the runbook's rules. The page says of each whether it works.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
RUNBOOK = HERE / "operations-runbook.md"
PAGE = ROOT / "docs" / "runbook-coverage.md"
WORKS, MISLEADS = "works", "runs, and misleads"
_ALERT = "      - alert: "
_HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?")


@dataclass(frozen=True)
class Line:
    """One command, or one alert, as the runbook writes it, with the heading that it stands under."""

    section: str
    text: str
    language: str

    @property
    def is_alert(self) -> bool:
        return self.language == "yaml"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a line.

    Attributes:
        id: A short name for tests.
        text: The line, as the runbook has it.
        state: `WORKS` or `MISLEADS`.
        why: What it does; of a line that misleads, what is wrong with its answer.
        ours: What we do instead; empty for a line that works and needs nothing else.
        test: Where it is run: a file of the repository, `::` and a test's name.
        ours_test: The same of `ours`.
    """

    id: str
    text: str
    state: str
    why: str
    ours: str = ""
    test: str
    ours_test: str = ""


def fences(text: str) -> Iterator[tuple[str, str, str]]:
    """Each fenced block: the headings above it, its language, its text."""
    chapter = section = ""
    language, block = "", list[str]()
    for line in text.splitlines():
        if line.startswith("```") and language:
            yield f"{chapter}: {section}", language, "\n".join(block)
            language, block = "", []
        elif line.startswith("```"):
            language = line[3:] or "text"
        elif language:
            block.append(line)
        elif line.startswith("## "):
            chapter = line[3:]
        elif line.startswith("### "):
            section = line[4:]
    if language:
        raise ValueError(f"a block of {section} has no end")


def rules(text: str) -> str:
    """The runbook's alerts as one file: its second block goes on where the first ends."""
    return "\n".join(block for _, language, block in fences(text) if language == "yaml") + "\n"


def lines(text: str) -> list[Line]:
    """Every command and every alert of the runbook, in its order.

    Raises:
        ValueError: a block of another language, or a command that does not end.
    """
    found = []
    for section, language, block in fences(text):
        if language == "bash":
            parts = commands(block)
        elif language == "yaml":
            _, *after = block.replace("# Prometheus", "").split(_ALERT)
            after = after if _ALERT in block else []
            parts = iter([f"- alert: {_dedented(one)}" for one in after])
        else:
            raise ValueError(f"what is a block of {language}? {section}")
        found += [Line(section, one, language) for one in parts]
    return found


def _dedented(alert: str) -> str:
    return "\n".join(line.removeprefix("      ") for line in alert.rstrip().splitlines())


def commands(block: str) -> Iterator[str]:
    """The commands of a shell's block; comments between them are left out."""
    held: list[str] = []
    ends = ""  # the line that ends a loop or a heredoc
    for line in block.splitlines():
        if not held and (not line.strip() or line.startswith("#")):
            continue
        held.append(line)
        if ends:
            if line != ends:
                continue
            ends = ""
        elif heredoc := _HEREDOC.search(line):
            ends = heredoc[1]
            continue
        elif line.startswith("for "):
            ends = "done"
            continue
        elif line.endswith("\\"):
            continue
        yield "\n".join(held)
        held = []
    if held:
        raise ValueError(f"this has no end: {held[0]}")


def entries() -> dict[str, Entry]:
    """What `lines.toml` says, by id."""
    read = tomllib.loads((HERE / "lines.toml").read_text(encoding="utf-8"))["line"]
    made = {one["id"]: Entry(**one) for one in read}
    if len(made) != len(read):
        raise ValueError("two entries have one id")
    return made


def page() -> str:
    """docs/runbook-coverage.md.

    Raises:
        ValueError: a line has no entry, or an entry no line.
    """
    found = lines(RUNBOOK.read_text(encoding="utf-8"))
    known = {one.text.strip(): one for one in entries().values()}
    texts = [one.text for one in found]
    unknown = [text for text in texts if text not in known]
    gone = [one.id for text, one in known.items() if text not in texts]
    if unknown or gone or len(set(texts)) != len(texts):
        raise ValueError(f"lines without an entry: {unknown}; entries without a line: {gone}")
    sections = list(dict.fromkeys(one.section for one in found))
    parts = [_HEAD, _table(sections, found, known)]
    for section in sections:
        parts.append(f"## {section}\n")
        parts += [_row(one, known[one.text]) for one in found if one.section == section]
    return "\n".join(parts)


_HEAD = """\
# Coverage of the operations runbook

<!-- Made by tests/cluster/test_runbook_lines.py (MC_WRITE_COVERAGE=1), of tests/cluster/runbook/lines.toml -->

Every command of the operations runbook (`tests/cluster/runbook/operations-runbook.md`) is run as it
is written, by `tests/cluster/test_runbook_lines.py` on a [test cluster](how-to/test-cluster.md) with three replicas behind a
real autoscaler. `kubectl`, `git`, `curl` and `jq` are themselves. `gh` is GitHub's own client, in front of a server of the
test that answers as GitHub's API does, and Slack's webhook is one that refuses what Slack refuses; both check what is asked.
`http://prometheus:9090` is a Prometheus with `deploy/prometheus/prometheus.kubernetes.yml`, to which the test names the pods
instead of the cluster. Names resolve by an `/etc/hosts` of the operator's own. A line is in one of two states:

- **works**: it ran, and its answer was checked;
- **runs, and misleads**: it ran, and the test shows that its answer is wrong, or says less than it seems.
"""


def _table(sections: list[str], found: list[Line], known: dict[str, Entry]) -> str:
    rows = ["| section | works | runs, and misleads |", "|---|---|---|"]
    total = {WORKS: 0, MISLEADS: 0}
    for section in sections:
        here = [known[one.text].state for one in found if one.section == section]
        for state in total:
            total[state] += here.count(state)
        rows.append(f"| {section} | {here.count(WORKS)} | {here.count(MISLEADS)} |")
    rows.append(f"| all | {total[WORKS]} | {total[MISLEADS]} |")
    return "\n".join(rows) + "\n"


def _row(line: Line, entry: Entry) -> str:
    language = "yaml" if line.is_alert else "sh"
    said = [f"**{entry.state}**: {entry.why}."]
    if entry.ours:
        seen = f" (`{entry.ours_test}`)" if entry.ours_test else ""
        said.append(f"Ours: {entry.ours}{seen}.")
    said.append(f"Test: `{entry.test}`.")
    return f"```{language}\n{line.text}\n```\n\n" + "\n".join(said) + "\n"
