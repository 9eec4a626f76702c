"""Writes the bill of materials of a lock: CycloneDX 1.6, of what a replica or mcctl runs with.

    python tools/sbom.py requirements/service.lock [FILE]

Without FILE it goes to standard output. The same lock and version give the same bytes: there is no
time in it, and the serial number is derived from both. A component has the SHA-256 of every file of
its release that may be installed, as the lock has them, so one of them is that of the file that was.
A component that only some platforms install is `optional` and tells the marker. The lock is flat, so
the graph is: the service depends on all. Licences are not in the lock, and so not in here.
"""

from __future__ import annotations

import re
import sys
import tomllib
from hashlib import sha256
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
_HASH = re.compile(r"\s--hash=sha256:([0-9a-f]{64})")


def components(lock: str) -> list[Component]:
    """The pinned requirements of a lock, in its order.

    Raises:
        ValueError: one is not pinned to a version, or has no hash.
    """
    found = []
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", lock)[1:]:
        requirement = Requirement(entry.partition("\\")[0].strip())
        [pin] = requirement.specifier
        hashes = _HASH.findall(entry)
        if pin.operator != "==" or not hashes:
            raise ValueError(f"{requirement} is not pinned to a version with hashes")
        name = canonicalize_name(requirement.name)
        purl = PackageURL("pypi", name=name, version=pin.version)
        marker = requirement.marker
        found.append(
            Component(
                name=name,
                version=pin.version,
                purl=purl,
                bom_ref=str(purl),
                scope=ComponentScope.OPTIONAL if marker else ComponentScope.REQUIRED,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in hashes],
                properties=[Property(name="mc:lock:marker", value=str(marker))] if marker else [],
            )
        )
    return found


def bill(lock: bytes, project: dict[str, str]) -> str:
    """The document, for the bytes of a lock and the `[project]` of pyproject.toml."""
    digest = sha256(lock).hexdigest()
    purl = PackageURL("generic", name=project["name"], version=project["version"])
    service = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        purl=purl,
        bom_ref=str(purl),
    )
    bom = Bom(
        components=components(lock.decode()), serial_number=uuid5(NAMESPACE_URL, f"{purl} {digest}")
    )
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the schema lets it be absent
    bom.metadata.component = service
    bom.metadata.properties.add(Property(name="mc:lock:sha256", value=digest))
    bom.register_dependency(service, bom.components)
    written = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return written.output_as_string(indent=1) + "\n"


def main() -> None:
    """Write it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = bill(Path(sys.argv[1]).read_bytes(), project)
    if len(sys.argv) < 3:
        sys.stdout.write(text)
        return
    out = Path(sys.argv[2])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
