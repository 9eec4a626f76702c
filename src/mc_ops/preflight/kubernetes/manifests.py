"""Objects of Kubernetes out of files: YAML or JSON, or what a kustomization makes of them.

Safe loading alone; a key that stands twice is refused, for YAML would take the last of them, and so is
a document that grows beyond all bounds by its aliases.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_limited

_SUFFIXES = {".yaml", ".yml", ".json"}
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_RENDERERS = (("kubectl", "kustomize"), ("kustomize", "build"))
_MOST_BYTES = 32 * 1024 * 1024
_MOST_NODES = 2_000_000
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
    try:
        documents = list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UnusableInput(f"{source} is no manifest: {error}") from error
    for document in documents:
        if document is not None:
            _require_bounded(document, source)
            yield from _flat(document, source)


def _flat(document: Any, source: str) -> Iterator[Object]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise UnusableInput(f"{source} has a document without `kind`: it is no manifest")
    if document["kind"].endswith("List") and "items" in document:
        for item in sequence(document["items"], "items", source):
            yield from _flat(item, source)
    else:
        yield Object(document)


def _require_bounded(document: Any, source: str) -> None:
    """Refuse what is small as a text and endless when it is walked, or holds itself."""
    sizes: dict[int, int] = {}
    walked: set[int] = set()

    def size(node: Any) -> int:
        if not isinstance(node, dict | list):
            return 1
        key = id(node)
        if key in sizes:
            return sizes[key]
        if key in walked:
            raise UnusableInput(f"{source}: an alias leads into itself")
        walked.add(key)
        sizes[key] = 1 + sum(map(size, node.values() if isinstance(node, dict) else node))
        if sizes[key] > _MOST_NODES:
            raise UnusableInput(f"{source}: over {_MOST_NODES} values, by aliases")
        return sizes[key]

    size(document)


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


class _Loader(yaml.SafeLoader):
    """As YAML's, with times left as texts and a key that stands twice refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"key {key.value[:60]!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
