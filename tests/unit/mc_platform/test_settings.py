"""Settings are read once, and every problem is told at once, without a value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mc_platform.errors import Misconfigured
from mc_platform.settings import (
    Settings,
    load_catalogue,
    load_settings,
    open_catalogue,
    unknown_variables,
)

GOOD = {"MC_DATABASE_URL": "postgresql://x:s3cret@h/mc", "MC_LEDGER_KEY_FILE": "key.pem"}

SIEM = tuple(
    f"AUDIT_SIEM_{name}"
    for name in ("URL", "KEY", "FORMAT", "INDEX", "CA_FILE", "HEC_ACK", "INSECURE")
)


@pytest.fixture
def env(monkeypatch):
    def set_all(**values):
        for name in (*SIEM, "AUDIT_FILE_ENABLED"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {**GOOD, **values}.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("AUDIT_SIEM_FORMAT", "ocsf or splunk-hec or elastic or cef"),
        ("AUDIT_SIEM_HEC_ACK", "required or off"),
        ("AUDIT_FILE_ENABLED", "true or false"),
        ("MC_LOG_LEVEL", "DEBUG or INFO or WARNING or ERROR"),
    ],
)
def test_a_word_that_is_none_of_a_settings_is_answered_with_those_that_are(env, name, wanted):
    """Whatever the variable is called."""
    env(**{name: "sesame"})
    with pytest.raises(Misconfigured) as refused:
        load_settings()
    assert refused.value.message.endswith(f": {name} must be {wanted}")


@pytest.mark.parametrize("text", ["8_0", " 80", "+80", "٨٠", "80.0", "8e1"])
def test_a_number_is_read_as_it_is_written_or_refused(env, text):
    """Python takes most of these for 80: a port that nobody has written."""
    env(MC_PORT="8081", MC_RATE_LIMIT_PER_S="0.5")
    assert (load_settings().port, load_settings().rate_limit_per_s) == (8081, 0.5)
    env(MC_PORT=text)
    with pytest.raises(Misconfigured, match=r"MC_PORT must be a whole number from 1 to 65535$"):
        load_settings()
    env(MC_PORT="8081", MC_RATE_LIMIT_PER_S=f"1_{text}")
    with pytest.raises(Misconfigured, match=r"MC_RATE_LIMIT_PER_S must be a number above 0$"):
        load_settings()


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
    ("name", "meant"),
    [
        ("MC_RATE_LIMT", "MC_RATE_LIMIT_PER_S"),
        ("MC_RATELIMIT_BURST", "MC_RATE_LIMIT_BURST"),
        ("MC_CATALOG", "MC_CATALOGUE"),
        ("AUDIT_SIEM_URI", "AUDIT_SIEM_URL"),
    ],
)
def test_a_misspelt_variable_is_refused(env, name, meant):
    """It would leave the setting at its default, and nobody would know."""
    env(**{name: "s3cret", "MC_PORT": "0"})
    with pytest.raises(Misconfigured) as caught:
        load_settings()
    assert f"{name} is unknown; did you mean {meant}?" in caught.value.message
    assert "MC_PORT must be a whole number from 1 to 65535" in caught.value.message
    assert "s3cret" not in caught.value.message


def test_variables_of_the_tools_are_known(env):
    """Those that `mcctl` reads or sets may stand in the environment from which a replica inherits."""
    sources = (Path(__file__).parents[3] / "src" / "mc_ops").rglob("*.py")
    named = {name for path in sources for name in re.findall(r'"(MC_[A-Z_]+)"', path.read_text())}
    named -= {"MC_FAULT", "MC_PORT"}  # a prefix of names, and one that holds a number
    assert len(named) > 10
    env(**dict.fromkeys(named - {"MC_CATALOGUE", "MC_POLICY_DIR"}, "x"))
    with pytest.raises(Misconfigured) as caught:
        load_settings()
    assert "is unknown" not in caught.value.message


def test_a_catalogue_of_many_tenants_is_read_and_one_without_end_is_not(tmp_path):
    """Thousands of tenants are more than 1 MiB; 16 are the most."""
    catalogue = tmp_path / "catalogue.toml"
    row = '[tenants.T{}]\nresidency = "eu"\npurposes = ["support"]\nagents = []\n'
    rows = [row.format(number) for number in range(50)]
    catalogue.write_text("\n".join([*rows, "#" * (2 << 20)]))
    opened = open_catalogue(catalogue)
    assert opened.catalogue == load_catalogue(catalogue)
    assert len(opened.held) == 50
    catalogue.write_text("#" * ((16 << 20) + 1))
    with pytest.raises(Misconfigured, match="more than 16777216 bytes"):
        load_catalogue(catalogue)


def test_variables_of_others_are_no_settings(env, tmp_path):
    """Those of a catalogue's placeholders, of the tools, of Kubernetes; any other is told."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text('[agents.a]\nurl = "${MC_REPLICAS_URL}"\nresidency = "eu"\n')
    env(
        MC_CATALOGUE=str(catalogue),
        MC_REPLICAS_URL="http://a",
        MC_HOME="/x",
        MC_PROXY_SERVICE_HOST="10.0.0.1",
        MC_SKIN="dark",
    )
    unknown = unknown_variables(load_settings())
    assert "MC_SKIN" in unknown
    assert {"MC_REPLICAS_URL", "MC_HOME", "MC_PROXY_SERVICE_HOST"}.isdisjoint(unknown)


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


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"AUDIT_SIEM_URL": "http://siem.example/x"}, "must be https"),
        ({"AUDIT_SIEM_URL": "https://user:pw@siem.example/x"}, "must not hold a user"),
        ({"AUDIT_SIEM_URL": "syslog+tls://siem.example"}, "for the format ocsf"),
        (
            {"AUDIT_SIEM_URL": "https://siem.example", "AUDIT_SIEM_FORMAT": "cef"},
            "for the format cef",
        ),
        (
            {"AUDIT_SIEM_URL": "syslog+tcp://siem.example", "AUDIT_SIEM_FORMAT": "cef"},
            r"must be syslog\+tls",
        ),
        ({"AUDIT_SIEM_FORMAT": "xml"}, "AUDIT_SIEM_FORMAT"),
        ({"AUDIT_SIEM_INDEX": "../_all"}, "AUDIT_SIEM_INDEX"),
        ({"AUDIT_SIEM_INDEX": "Upper"}, "AUDIT_SIEM_INDEX"),
        ({"AUDIT_SIEM_HEC_ACK": "maybe"}, "AUDIT_SIEM_HEC_ACK"),
    ],
)
def test_a_siem_that_would_not_be_safe(env, values, told):
    """A key in clear to another machine, a URL of another format, an odd index: refused at start."""
    env(AUDIT_SIEM_KEY="k3y", **values)
    with pytest.raises(Misconfigured, match=told) as caught:
        load_settings()
    assert "siem.example" not in caught.value.message
    assert "k3y" not in caught.value.message


@pytest.mark.parametrize(
    "values",
    [
        {"AUDIT_SIEM_URL": "https://siem.example/x", "AUDIT_SIEM_KEY": "k"},
        {"AUDIT_SIEM_URL": "http://[::1]:1/x", "AUDIT_SIEM_KEY": "k"},
        {"AUDIT_SIEM_URL": "http://siem/x", "AUDIT_SIEM_KEY": "k", "AUDIT_SIEM_INSECURE": "1"},
        {"AUDIT_SIEM_URL": "syslog+tls://siem.example", "AUDIT_SIEM_FORMAT": "cef"},
        {"AUDIT_SIEM_URL": "syslog+tcp://127.0.0.1:514", "AUDIT_SIEM_FORMAT": "cef"},
    ],
)
def test_a_siem_that_may_be_spoken_to(env, values):
    """TLS anywhere, clear text on this machine or by decision, syslog without a key."""
    env(**values)
    assert load_settings().audit_siem_url


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


def test_trusted_proxies_are_addresses_and_networks(env):
    """Each entry is one or the other; which is none is told by its number, without the value."""
    env(MC_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8 2001:db8::/32")
    assert [str(one) for one in load_settings().proxies] == [
        "127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32",
    ]  # fmt: skip
    for wrong in ("127.0.0.1,ingress.example", "127.0.0.1,10.0.0.1/8", "127.0.0.1,*"):
        env(MC_TRUSTED_PROXIES=wrong)
        with pytest.raises(
            Misconfigured, match=r"MC_TRUSTED_PROXIES: .*entry 2 is no address"
        ) as e:
            load_settings()
        assert wrong.split(",")[1] not in e.value.message


@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if field.annotation is float]
)
def test_no_number_is_infinite(env, name):
    """An endless cache keeps revoked credentials, an endless interval or wait switches its guard off."""
    given = Settings.model_fields[name].validation_alias
    variable = str(given or f"MC_{name.upper()}")
    for value in ("nan", "inf", "1e400", "-inf"):
        env(**{variable: value})
        with pytest.raises(Misconfigured, match=f"{variable} must be a "):
            load_settings()


def test_a_revoked_credential_ends_within_minutes(env):
    """However the cache is set."""
    env(MC_CREDENTIAL_CACHE_S="300")
    assert load_settings().credential_cache_s == 300
    env(MC_CREDENTIAL_CACHE_S="301")
    with pytest.raises(Misconfigured, match="MC_CREDENTIAL_CACHE_S must be a number from 0 to 300"):
        load_settings()


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
@pytest.mark.parametrize(
    "name",
    ["HEAD_TIMEOUT_S", "BODY_TIMEOUT_S", "WRITE_TIMEOUT_S", "AUTHENTICATION_FAILURES_PER_MIN"],
)
def test_limits_are_real_limits(env, name, value):
    """What would switch a limit off is refused."""
    env(**{f"MC_{name}": value})
    with pytest.raises(Misconfigured, match=f"MC_{name}"):
        load_settings()
