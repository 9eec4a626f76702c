"""Presidio's side of the screening benchmark, in an environment of its own.

Reads the messages' file, builds the analyzer with its pattern recognisers (no language model), and
makes one pass for each line on standard input: `find` tells the spans, `time FIRST STOP` the CPU
seconds that the messages between take.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tldextract.tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

TYPES = {
    "CREDIT_CARD": "payment-card",
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
    "PHONE_NUMBER": "phone",
    "US_SSN": "national-id",
}


class NoLanguage(NlpEngine):  # type: ignore[misc] # another environment's package
    """Tells nothing of the language: what is left is the recognisers' own work."""

    def load(self) -> None:
        """Nothing is loaded."""

    def is_loaded(self) -> bool:
        """Always."""
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:  # noqa: ARG002 - the interface
        """No tokens, no entities."""
        return NlpArtifacts([], [], [], [], self, language)

    def process_batch(self, texts: Any, language: str, **_: Any) -> Any:
        """As `process_text`."""
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:  # noqa: ARG002 - the interface
        """No word is known."""
        return False

    def is_punct(self, word: str, language: str) -> bool:  # noqa: ARG002 - the interface
        """No word is known."""
        return False

    def get_supported_entities(self) -> list[str]:
        """None."""
        return []

    def get_supported_languages(self) -> list[str]:
        """English alone."""
        return ["en"]


def main() -> None:
    """Answer until standard input ends."""
    texts: list[str] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # Its list of suffixes comes with the package; nothing is fetched
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    registry.remove_recognizer("SpacyRecognizer")
    engine = AnalyzerEngine(registry=registry, nlp_engine=NoLanguage(), supported_languages=["en"])
    names = sorted(recogniser.name for recogniser in registry.recognizers)
    print(json.dumps({"version": version("presidio-analyzer"), "recognisers": names}), flush=True)
    for line in sys.stdin:
        what, *bounds = line.split()
        first, stop = map(int, bounds) if bounds else (0, len(texts))
        began = time.process_time()
        found = [engine.analyze(text=text, language="en") for text in texts[first:stop]]
        answer: Any = time.process_time() - began
        if what == "find":
            answer = [
                [
                    [TYPES[one.entity_type], one.start, one.end]
                    for one in each
                    if one.entity_type in TYPES
                ]
                for each in found
            ]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
