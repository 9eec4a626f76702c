"""Settings are read once, and every problem is told at once, without a value."""

from __future__ import annotations

import pytest

from mc_platform.errors import Misconfigured
from mc_platform.settings import load_catalogue, load_settings

GOOD = {"MC_DATABASE_URL": "postgresql://x:s3cret@h/mc", "MC_LEDGER_KEY_FILE": "key.pem"}


@pytest.fixture
def env(monkeypatch):
    def set_all(**values):
        for name in ("AUDIT_SIEM_URL", "AUDIT_SIEM_KEY", "AUDIT_FILE_ENABLED"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {**GOOD, **values}.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_secrets_do_not_print(env):
    """A settings object may be shown without telling what it keeps."""
    env(AUDIT_SIEM_URL="http://127.0.0.1/x", AUDIT_SIEM_KEY="k3y")
    shown = repr(load_settings())
    assert "s3cret" not in shown
    assert "k3y" not in shown


def test_all_problems_are_told_at_once(env):
    """Two wrong values give one error that names both variables and neither value."""
    env(MC_PORT="99999", MC_COLOUR="NOT A COLOUR", MC_DATABASE_URL="postgresql://x:s3cret@h/mc")
    with pytest.raises(Misconfigured) as caught:
        load_settings()
    assert "MC_PORT" in caught.value.message
    assert "MC_COLOUR" in caught.value.message
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"MC_FAULT_SLOW_FACTOR": "2"}, "MC_FAULTS_ALLOWED"),
        ({"AUDIT_SIEM_URL": "http://127.0.0.1/x"}, "AUDIT_SIEM_KEY"),
        ({"AUDIT_FILE_ENABLED": "true"}, "AUDIT_FILE_PATH"),
    ],
)
def test_settings_that_need_each_other(env, values, told):
    """A fault switch without leave, a SIEM without a key, a file without a path: refused."""
    env(**values)
    with pytest.raises(Misconfigured, match=told):
        load_settings()


def test_a_catalogue_with_dangling_names_tells_every_one(tmp_path):
    """Unknown agents and actions are listed together."""
    path = tmp_path / "catalogue.toml"
    path.write_text(
        '[tenants.T]\nresidency = "eu"\npurposes = ["p"]\nagents = ["nobody"]\n'
        '[operations.o]\nagent = "none"\nsteps = ["a", "b"]\nautonomy_tier = 1\n'
    )
    with pytest.raises(Misconfigured) as caught:
        load_catalogue(path)
    for name in ("nobody", "none", "'a'", "'b'"):
        assert name in caught.value.message


def test_a_catalogue_with_an_unset_variable_names_it(tmp_path, monkeypatch):
    """A placeholder that the environment does not fill is an error, not an empty string."""
    monkeypatch.delenv("MC_NOWHERE_URL", raising=False)
    path = tmp_path / "catalogue.toml"
    path.write_text('[agents.a]\nurl = "${MC_NOWHERE_URL}"\nresidency = "eu"\n')
    with pytest.raises(Misconfigured, match="MC_NOWHERE_URL"):
        load_catalogue(path)


def test_the_local_catalogue_holds_together(monkeypatch):
    """What the repository ships can be loaded."""
    from pathlib import Path

    for name in ("MC_RECORDS_AGENT_URL", "MC_FULFILMENT_AGENT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    catalogue = load_catalogue(Path(__file__).parents[3] / "deploy" / "local" / "catalogue.toml")
    generally_available = {t.id for t in catalogue.tenants.values() if t.generally_available}
    assert generally_available == {"TENANT_001", "TENANT_002", "TENANT_003"}
