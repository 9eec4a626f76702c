"""Migrations are safe with two versions running, as squawk sees it; those that landed stay as they are."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "src" / "mc_platform" / "migrations"
EXEMPT = {
    Path(path).name
    for path in tomllib.loads((ROOT / ".squawk.toml").read_text(encoding="utf-8"))["excluded_paths"]
}
_OUTSIDE = "-- outside a transaction\n"


def _linted(folder: Path) -> subprocess.CompletedProcess[str]:
    # As `make lint` does it, without looking after the environment
    command = ["make", "-s", "-o", "setup", "migrations", f"MIGRATIONS={folder}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_squawk_has_nothing_to_say():
    """No migration but the exempt ones locks the service out or breaks the version before it."""
    done = _linted(MIGRATIONS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("CREATE INDEX x ON mc.task (state);\n", "require-concurrent-index-creation"),
        (
            "SELECT 1;\nCREATE INDEX CONCURRENTLY IF NOT EXISTS x ON mc.task (id);\n",
            "in-transaction",
        ),
        ("ALTER TABLE mc.task ADD COLUMN x text NOT NULL;\n", "adding-required-field"),
        ("ALTER TABLE mc.task DROP COLUMN state;\n", "ban-drop-column"),
        ("ALTER TABLE mc.task RENAME COLUMN state TO stage;\n", "renaming-column"),
        ("ALTER TABLE mc.task ALTER COLUMN state TYPE char(9);\n", "changing-column-type"),
        ("ALTER TABLE mc.task ALTER COLUMN state SET NOT NULL;\n", "adding-not-nullable-field"),
        (
            "ALTER TABLE mc.task ADD COLUMN x text GENERATED ALWAYS AS (state) STORED;\n",
            "adding-field-with-default",
        ),
        (
            "ALTER TABLE mc.task ADD CONSTRAINT x CHECK (state <> '');\n",
            "constraint-missing-not-valid",
        ),
        (f"{_OUTSIDE}CREATE INDEX CONCURRENTLY x ON mc.task (state);\n", "prefer-robust-stmts"),
        (f"{_OUTSIDE}DROP INDEX mc.task_state;\n", "require-concurrent-index-deletion"),
    ],
)
def test_what_locks_or_breaks_is_found(tmp_path, sql, rule):
    """Each by the rule that is meant, in a transaction and outside of one."""
    (tmp_path / "9001_fine.sql").write_text("CREATE TABLE IF NOT EXISTS mc.x (id bigint);\n")
    (tmp_path / "9002_fine.sql").write_text(
        f"{_OUTSIDE}CREATE INDEX CONCURRENTLY IF NOT EXISTS x ON mc.task (state);\n"
    )
    assert _linted(tmp_path).returncode == 0
    (tmp_path / "9003_bad.sql").write_text(sql)
    done = _linted(tmp_path)
    assert done.returncode != 0
    assert rule in done.stdout


def test_exempt_migrations_are_the_landed_ones_and_unchanged():
    """They are history: a database has them applied by name. A new one is never added to them."""
    files = sorted(MIGRATIONS.glob("*.sql"))
    assert {file.name for file in files if file.name < "0034"} == EXEMPT
    landed = b"".join(file.read_bytes() for file in files if file.name in EXEMPT)
    assert hashlib.sha256(landed).hexdigest() == (
        "6b9c828d51926ef03a509434df3085b7335752f6612dd950bc26dcc170a8958c"
    )


def test_new_migrations_leave_timeouts_to_the_runner():
    """It waits for a lock briefly, and again; each has a number of its own."""
    files = sorted(MIGRATIONS.glob("*.sql"))
    numbers = [file.name[:4] for file in files]
    assert all(re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", file.name) for file in files)
    assert len(numbers) == len(set(numbers))
    new = [file for file in files if file.name not in EXEMPT]
    assert [one.name for one in new if "lock_timeout" in one.read_text(encoding="utf-8")] == []
