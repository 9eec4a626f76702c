"""Objects of Kubernetes out of files: YAML or JSON, or what a kustomization makes of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_limited
from mc_ops.yaml_documents import documents_of

_SUFFIXES = {".yaml", ".yml", ".json"}
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_RENDERERS = (("kubectl", "kustomize"), ("kustomize", "build"))
_MOST_BYTES = 32 * 1024 * 1024
_RENDER_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Object:
    """One object.

    Attributes:
        data: All of it, as the API has it.
    """

    data: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its kind, such as `Deployment`."""
        return str(self.data["kind"])

    @property
    def group(self) -> str:
        """The group of its API, such as `apps`; empty for the core's. Two groups may share a kind."""
        return str(self.data.get("apiVersion") or "").rpartition("/")[0]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.metadata.get("name") or self.metadata.get("generateName") or "")

    @property
    def namespace(self) -> str:
        """Its namespace; `default` where none is said."""
        return str(self.metadata.get("namespace") or "default")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata."""
        return mapping(self.data.get("metadata"), "metadata", self.data["kind"])

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec; empty where it has none."""
        return mapping(self.data.get("spec"), "spec", self)

    def __str__(self) -> str:
        """As a finding names it: kind, namespace and name."""
        return f"{self.kind} {self.namespace}/{self.name}"


def mapping(value: Any, field: str, where: object) -> Mapping[str, Any]:
    """A field that is an object, or missing (empty).

    Raises:
        UnusableInput: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UnusableInput(f"{where}: {field} is {type(value).__name__}, must be an object")
    return value


def sequence(value: Any, field: str, where: object) -> Sequence[Any]:
    """A field that is a list, or missing (empty).

    Raises:
        UnusableInput: it is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise UnusableInput(f"{where}: {field} is {type(value).__name__}, must be a list")
    return value


def read_manifests(folder: Path) -> list[Object]:
    """All objects of a folder or a file; a folder with a kustomization is rendered.

    Raises:
        UnusableInput: there is none, or a file is unreadable or no manifest.
        CouldNotTell: there is nothing that renders a kustomization, or it fails.
    """
    if any((folder / name).is_file() for name in _KUSTOMIZATIONS):
        return list(objects_of(_rendered(folder), str(folder)))
    if folder.is_dir():
        paths = sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
        for path in paths:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UnusableInput(
                    f"{path} leads out of {folder}", hint="put the file itself there"
                )
    else:
        paths = [folder]
    found = [
        one for path in paths for one in objects_of(read_limited(path, _MOST_BYTES), str(path))
    ]
    if not found:
        raise UnusableInput(f"{folder} has no manifests", hint="name a folder of YAML or JSON")
    return found


def objects_of(text: bytes, source: str) -> Iterator[Object]:
    """The objects in a text of YAML documents (JSON is one); the items of a `List` each by itself.

    Raises:
        UnusableInput: it is no YAML, has a key twice, or a document is no object of Kubernetes.
    """
    for document in documents_of(text, source):
        if document is not None:
            yield from _flat(document, source)


def _flat(document: Any, source: str) -> Iterator[Object]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise UnusableInput(f"{source} has a document without `kind`: it is no manifest")
    if not isinstance(document.get("apiVersion"), str):
        kind = document["kind"][:60]
        raise UnusableInput(f"{source} has a {kind} without `apiVersion`: it is no manifest")
    if document["kind"].endswith("List") and "items" in document:
        for item in sequence(document["items"], "items", source):
            yield from _flat(item, source)
    else:
        yield Object(document)


def _rendered(folder: Path) -> bytes:
    command = next((one for one in _RENDERERS if shutil.which(one[0])), None)
    if command is None:
        raise CouldNotTell(
            f"{folder} is a kustomization, and neither kubectl nor kustomize is installed",
            hint="install one of them, or name a folder of rendered manifests",
        )
    try:
        answer = subprocess.run(
            [*command, str(folder)], capture_output=True, check=False, timeout=_RENDER_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CouldNotTell(f"{' '.join(command)} {folder} did not end: {error}") from error
    if answer.returncode:
        said = answer.stderr.decode(errors="replace").strip()
        raise CouldNotTell(f"{' '.join(command)} {folder} failed: {said}")
    return answer.stdout
