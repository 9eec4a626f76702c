"""Names of persons by an installed pipeline of spaCy; implements `ports.EntityRecogniser`.

spaCy is the extra `ner`, and is imported where a pipeline is asked for. Nothing is downloaded. Of the
pipeline runs what recognises entities, and no more.

Three things of spaCy are bounded here. What it needs in memory grows with the text: it reads pieces.
Its tokenizer takes time that is quadratic in a run without spaces: a long one is not read. And its
vocabulary keeps every word that it ever met, of whichever tenant: it forgets them with each call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from mc_contract.running import code_digest
from mc_platform.errors import Misconfigured
from mc_platform.ports import EntityRecogniser

SETTING = "MC_NER_PIPELINE"
_PERSON = frozenset({"PERSON", "PER", "persName"})
"""What pipelines call a person: those of English, of most other languages, of Polish."""
_RECOGNISERS = frozenset({"ner", "entity_ruler"})
_ENCODERS = "tok2vec"
_TOO_DEAR = frozenset({"transformer", "curated_transformer"})
_PIECE_CHARS, _OVERLAP_CHARS, _BATCH = 2_000, 100, 64
# Letters of other scripts do not count: some are written without spaces
_RUN = re.compile(r"(?:(?![^\W\d_A-Za-z])\S){101,}")


@lru_cache(maxsize=1)
def load_recogniser(pipeline: str) -> EntityRecogniser | None:
    """The recogniser of a setting, loaded once a process; none for an empty one.

    Args:
        pipeline: Name of an installed package, or path of a pipeline's folder.

    Raises:
        Misconfigured: spaCy or the pipeline is not there, or it recognises no persons.
    """
    return SpacyPipeline(pipeline) if pipeline else None


class SpacyPipeline:
    """A loaded pipeline."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._nlp = _loaded(pipeline)
        self._lock = Lock()  # of the vocabulary; the engine's threads screen as well
        meta = self._nlp.meta
        self.name = f"{meta['lang']}_{meta['name']}"
        files = code_digest(_files(Path(self._nlp.path)))
        self.identity = f"{self.name} {meta['version']} spacy {_version()} sha256:{files}"

    def __reduce__(self) -> tuple[Callable[[str], EntityRecogniser | None], tuple[str]]:
        """Pickled as its setting: another process has loaded the same."""
        return load_recogniser, (self._pipeline,)

    def persons(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """See `ports.EntityRecogniser`; at the seam of two pieces a name is read in both."""
        found: list[list[tuple[int, int]]] = [[] for _ in texts]
        pieces = [
            (piece, (number, at))
            for number, text in enumerate(texts)
            for at, piece in _pieces(text)
        ]
        with self._lock, self._nlp.memory_zone():
            for doc, (number, at) in self._nlp.pipe(pieces, as_tuples=True, batch_size=_BATCH):
                for entity in doc.ents:
                    if entity.label_ in _PERSON:
                        found[number].append((at + entity.start_char, at + entity.end_char))
        return [_joined(spans) for spans in found]


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, those that overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """A text in pieces, each with its place; they end at a space and overlap."""
    text = _RUN.sub(lambda run: " " * len(run[0]), text)
    start = 0
    while len(text) - start > _PIECE_CHARS:
        end = start + _PIECE_CHARS
        space = text.rfind(" ", end - _OVERLAP_CHARS, end)
        end = end if space < 0 else space
        yield start, text[start:end]
        space = text.find(" ", end - _OVERLAP_CHARS, end)
        start = end - _OVERLAP_CHARS if space < 0 else space + 1
    yield start, text[start:]


def _loaded(pipeline: str) -> Any:
    if find_spec("spacy") is None:
        raise Misconfigured(
            f"{SETTING} is {pipeline!r}, and spaCy is not installed",
            hint=f"install mc-platform[ner], or unset {SETTING}",
        )
    try:
        import spacy

        nlp = spacy.load(pipeline)
    except Exception as error:  # whatever the files of others lead to
        reason = "no such package or folder" if isinstance(error, OSError) else type(error).__name__
        raise Misconfigured(
            f"{SETTING}: spaCy cannot load pipeline {pipeline!r} ({reason})",
            hint="install its package, or name the folder of a pipeline of this version of spaCy",
        ) from error
    factories = {name: nlp.get_pipe_meta(name).factory for name in nlp.pipe_names}
    _require_persons(pipeline, nlp, factories)
    kept = {name for name, factory in factories.items() if factory in _RECOGNISERS}
    if any("Listener" in str(nlp.get_pipe_config(name)) for name in kept):
        kept |= {name for name, factory in factories.items() if factory == _ENCODERS}
    for name in factories.keys() - kept:
        nlp.remove_pipe(name)
    return nlp


def _require_persons(pipeline: str, nlp: Any, factories: dict[str, str]) -> None:
    told = f"{SETTING}: pipeline {pipeline!r}"
    another = "name one that recognises persons, such as en_core_web_sm"
    if not _TOO_DEAR.isdisjoint(factories.values()):
        raise Misconfigured(
            f"{told} has a transformer, which costs more than is bounded", hint=another
        )
    recognisers = [name for name, factory in factories.items() if factory in _RECOGNISERS]
    if not recognisers:
        has = ", ".join(sorted(factories)) or "none"
        raise Misconfigured(f"{told} recognises no entities (its components: {has})", hint=another)
    labels = {label for name in recognisers for label in nlp.get_pipe(name).labels}
    if labels.isdisjoint(_PERSON):
        has = ", ".join(sorted(labels)) or "none"
        raise Misconfigured(f"{told} knows no label for persons (its labels: {has})", hint=another)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _version() -> str:
    import spacy

    return str(spacy.__version__)
