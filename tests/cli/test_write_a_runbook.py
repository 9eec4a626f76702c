"""The runbook of docs/how-to/write-a-runbook.md, run as it stands on the page."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from tests import forked

PAGE = (Path(__file__).parents[2] / "docs/how-to/write-a-runbook.md").read_text(encoding="utf-8")


class Team:
    """A repository with the page's runbook, and people with tokens of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        example = re.search(r"(?ms)^````markdown\n(.*?)^````$", PAGE)
        assert example
        (folder / "runbooks").mkdir()
        (folder / "runbooks" / "rotate-key.md").write_text(example[1])
        secrets = folder / "home" / "secrets"
        secrets.mkdir(parents=True, mode=0o700)
        entries = {
            name: {
                "principal": f"{name.lower()}@platform",
                "token": f"mc_{digit * 12}_{digit * 43}",
            }
            for name, digit in (("OPERATOR", "a"), ("ADMINISTRATOR", "b"))
        }
        (secrets / "credentials.json").write_text(json.dumps(entries))
        (secrets / "credentials.json").chmod(0o600)

    def run(self, line: str) -> tuple[int, str, str]:
        """One command line of the page."""
        words = [str(forked.MCCTL), *shlex.split(line)[1:]]
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = {**kept, "MC_HOME": str(self.folder / "home"), "NO_COLOR": "1"}
        done = forked.run(words, cwd=self.folder, env=env)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def commands() -> list[str]:
    """The page's command lines outside the example, in order."""
    outside = re.sub(r"(?ms)^````markdown\n.*?^````$", "", PAGE)
    blocks = re.findall(r"(?ms)^```(?:sh|text)\n(.*?)^```$", outside)
    return [line for block in blocks for line in block.splitlines()]


def test_the_page_works_as_it_stands(team: Team) -> None:
    """Lint, dry run, run to the gate, another person's approval, and on to the end."""
    lint, dry, run, approve, resume = commands()
    assert team.run(lint)[0] == 0
    code, out, _ = team.run(dry)
    assert (code, "2. approve  switch: Switch to the new key" in out) == (0, True)
    assert "(not by whoever started the run)" in out
    assert not (team.folder / "keys").exists()

    code, _, err = team.run(run + " --as OPERATOR")
    assert code == 8, err
    told = re.search(r"mcctl runbook approve (\S+) --gate switch", err)
    assert told, err
    refused = approve.replace("ADMINISTRATOR", "OPERATOR").replace("RUN_ID", told[1])
    code, _, err = team.run(refused)
    assert (code, "not for whoever started the run: operator@platform" in err) == (4, True), err
    code, out, err = team.run(approve.replace("RUN_ID", told[1]))
    assert code == 0, err
    assert "approved by administrator@platform (by a token" in out
    code, _, err = team.run(approve.replace("RUN_ID", told[1]))
    assert (code, "does not wait at gate switch" in err or "is decided" in err) == (2, True)

    code, out, err = team.run(resume.replace("RUN_ID", told[1]))
    assert code == 0, err
    current = (team.folder / "keys" / "current").resolve()
    assert current.name == f"{told[1]}.key"
    assert told[1] in (team.folder / "keys" / "rotations.txt").read_text()
    code, out, _ = team.run(f"mcctl runbook status {told[1]}")
    assert "for platform team" in out
    assert "nobody deploys" in out


def test_a_rejection_leaves_the_service_as_it_was(team: Team) -> None:
    """Exit 1; nothing was switched, and the reason is in what the run says."""
    code, _, err = team.run("mcctl runbook run rotate-key --as OPERATOR --yes")
    told = re.search(r"mcctl runbook approve (\S+)", err)
    assert told, err
    assert code == 8, err
    reject = f"mcctl runbook approve {told[1]} --reject --as ADMINISTRATOR --reason 'deploying'"
    assert team.run(reject)[0] == 0
    code, _, err = team.run(f"mcctl runbook run {told[1]} --resume")
    assert (code, "rejected by administrator@platform" in err, "deploying" in err) == (
        1,
        True,
        True,
    )
    assert not (team.folder / "keys" / "current").exists()
