"""A process tells what it runs with, by digests that it computed itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import mc_platform
from mc_contract.running import FACTS, facts_of, untold
from mc_ops.environments.local import releases
from mc_platform.observe import identity
from mc_platform.observe.identity import Running, configuration_digest
from mc_platform.settings import Settings, load_settings, open_catalogue

CATALOGUE = Path(__file__).parents[4] / "deploy" / "local" / "catalogue.toml"


@pytest.fixture
def made(monkeypatch):
    def settings(**values: str) -> Settings:
        known = {"MC_DATABASE_URL": "postgresql://x:s3cret@h/mc", "MC_LEDGER_KEY_FILE": "key.pem"}
        with monkeypatch.context() as patch:
            for name, value in {**known, "MC_CATALOGUE": str(CATALOGUE), **values}.items():
                patch.setenv(name, value)
            return load_settings()

    return settings


def test_replicas_of_one_release_have_one_configuration(made):
    """Name, colour, port and pod tell them apart; every other setting is theirs in common."""
    first = made()
    same = made(MC_REPLICA="green-2", MC_COLOUR="green", MC_PORT="1234", MC_POD_UID="a-b")
    assert configuration_digest(same) == configuration_digest(first)
    others = (
        {"MC_FAULT_SLOW_FACTOR": "2", "MC_FAULTS_ALLOWED": "1"},
        {"MC_RATE_LIMIT_PER_S": "501"},
        {"AUDIT_SIEM_FORMAT": "cef"},
        {"MC_REGION": "eu-1"},
    )
    assert len({configuration_digest(made(**one)) for one in ({}, *others)}) == 5


def test_an_entity_recogniser_counts_as_what_it_is_made_of(made):
    """The setting names a package or a folder, whose files may be others tomorrow."""
    on = made(MC_NER_PIPELINE="en")
    first, second = (configuration_digest(on, f"en {version}") for version in (1, 2))
    assert len({first, second, configuration_digest(made())}) == 3
    moved = made(MC_NER_PIPELINE="/srv/en")
    assert configuration_digest(moved, "en 1") == first


def test_a_secret_counts_as_set_or_not_whatever_its_value(made):
    """A digest of a weak secret would let it be guessed."""
    siem = {"AUDIT_SIEM_URL": "http://127.0.0.1/x"}
    first, second = (made(**siem, AUDIT_SIEM_KEY=key) for key in ("one", "other"))
    assert configuration_digest(first) == configuration_digest(second)
    changed = made(MC_DATABASE_URL="postgresql://x:another@h/mc")
    assert configuration_digest(changed) == configuration_digest(made())


def test_the_catalogue_counts_with_what_fills_its_placeholders(tmp_path, monkeypatch):
    """A comment changes nothing; an address that comes from the environment does."""
    path = tmp_path / "catalogue.toml"
    text = '[agents.a]\nurl = "${MC_AGENT}"\nresidency = "eu"\n'
    path.write_text(text)
    monkeypatch.setenv("MC_AGENT", "http://a")
    first = open_catalogue(path)
    path.write_text(f"# a comment\n{text}")
    assert open_catalogue(path) == first
    monkeypatch.setenv("MC_AGENT", "http://b")
    assert open_catalogue(path).digest != first.digest
    assert open_catalogue(path).held == first.held


def test_every_process_has_an_id_of_its_own_and_tells_everything(made, monkeypatch, tmp_path):
    """The code's digest is the one that the local environment writes beside its copy."""
    digest = "a" * 64
    one, other = (
        Running(
            made(), version="1", catalogue="b" * 64, policy_set=lambda: digest, keys=str
        ).identity()["running"]
        for _ in range(2)
    )
    assert one["instance"] != other["instance"]
    assert {name: one[name] for name in ("code", "catalogue", "configuration", "policy_set")} == {
        name: other[name] for name in ("code", "catalogue", "configuration", "policy_set")
    }
    assert one["policy_set"] == digest
    told = facts_of({"replica": "r", "colour": "blue", "version": "1", "running": one})
    assert untold([told]) == []
    # Which keys are in use may change while a release is measured, and is no fact of it
    assert set(one) - {"keys"} <= set(FACTS)
    source = Path(mc_platform.__file__).parents[1]
    assert one["code"] == releases.digest_of(source)


def _running(settings):
    return Running(settings, version="1", catalogue="", policy_set=str, keys=str)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a" * 40 + "\n", "a" * 40),
        ("0123456-dirty", "0123456-dirty"),
        ("0123456 " + "0" * 64, "0123456-dirty"),  # of other code than runs
        ("0123456 short", None),
        ("main", None),
        ("a" * 40 + "\nmore", None),
        ("\u00e9", None),
    ],
)
def test_a_commit_is_told_only_if_it_is_one(text, told, made, monkeypatch, tmp_path):
    """It stands beside the packages, where whoever made the release wrote it."""
    monkeypatch.setattr(identity, "_root", lambda: tmp_path)
    assert _running(made()).identity()["running"]["commit"] is None
    (tmp_path / "COMMIT").write_text(text, encoding="utf-8")
    assert _running(made()).identity()["running"]["commit"] == told
