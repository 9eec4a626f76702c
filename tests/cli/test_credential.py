"""`mcctl credential` and `mcctl tenant`, against a service that answers from a table."""

from __future__ import annotations

import json
import stat
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from mc_ops.cli import credential as verbs
from mc_ops.cli import tenant as tenant_verbs
from mc_ops.cli.operator_access import Access, access_token
from mc_ops.environments import credentials as local
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, Finding, UnusableInput

KEY = "0123456789ab"
TOKEN = f"mc_{KEY}_{'s' * 43}"
OTHER = f"mc_{'f' * 12}_{'t' * 43}"
MADE = {
    "key_id": "f" * 12,
    "tenant": "T",
    "principal": "agent@t",
    "role": "agent",
    "scopes": ["a2a"],
    "state": "valid",
    "origin": "administrator",
    "created_at": "2026-01-02T03:04:05+00:00",
    "expires_at": None,
    "revoked_at": None,
}


@pytest.fixture
def layout(monkeypatch, tmp_path):
    """A home whose secrets have one token."""
    made = Layout(home=tmp_path / "home")
    made.prepare()
    monkeypatch.setenv("MC_HOME", str(made.home))
    known = {"T": {"principal": "agent@t", "token": TOKEN}}
    made.secret("credentials.json").write_text(json.dumps(known))
    return made


@pytest.fixture
def service(monkeypatch):
    """What was asked of the service; `answers` may hold an error."""
    asked = []
    fake = SimpleNamespace(asked=asked, error=None)

    def told(name, **more):
        asked.append((name, more))
        if fake.error is not None:
            raise fake.error
        return dict(MADE, token=OTHER) if name != "revoke" else dict(MADE, key_id=KEY)

    @contextmanager
    def client(_call, default):
        assert default == "ADMINISTRATOR"
        yield SimpleNamespace(
            create_credential=lambda **more: told("create", **more),
            rotate_credential=lambda key, **more: told("rotate", key=key, **more),
            revoke_credential=lambda key, **more: told("revoke", key=key, **more),
            credentials=lambda _tenant: {"credentials": [MADE], "more": False},
        )

    monkeypatch.setattr(Access, "client", client)
    monkeypatch.setattr(Access, "acting", client)
    return fake


def run(*args):
    return CliRunner().invoke(verbs.app, [*args, "--yes"] if args[0] != "list" else list(args))


def test_a_token_is_shown_once_on_stdout(layout, service):
    """Alone on its line, so that it can be piped."""
    done = run("create", "--tenant", "T", "--reason", "x", "--scope", "a2a", "--expires", "90d")
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines() == [OTHER]
    [(_, sent)] = service.asked
    assert (sent["scopes"], sent["expires_in_s"], sent["role"]) == (["a2a"], 90 * 86_400, "agent")
    assert OTHER not in run("list").stdout


def test_a_token_goes_into_a_file_of_its_own(layout, service, tmp_path):
    """Not to stdout then, and into no file that is there."""
    place = tmp_path / "token"
    args = ("create", "--tenant", "T", "--reason", "x", "--out", str(place))
    done = run(*args, "--output", "json")
    assert place.read_text() == f"{OTHER}\n"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert "t" * 43 not in done.output
    assert isinstance(run(*args).exception, UnusableInput)
    assert len(service.asked) == 1, "no token is made that has no place"


def test_a_file_without_a_token_does_not_stay(layout, service, tmp_path):
    """The service refused, so there is nothing to keep."""
    service.error = CouldNotTell("down")
    place = tmp_path / "token"
    done = run("create", "--tenant", "T", "--reason", "x", "--out", str(place))
    assert isinstance(done.exception, CouldNotTell)
    assert not place.exists()


def test_this_machines_file_is_kept_in_step(layout, service):
    """Rotated: the new token. Revoked: none, and `mcctl up` makes no other. Kept: one more."""
    assert run("rotate", KEY, "--reason", "x", "--overlap", "1h").exit_code == 0
    assert service.asked[-1][1]["overlap_s"] == 3600
    assert local.tenant_token(layout, "T") == OTHER
    assert run("revoke", "f" * 12, "--reason", "x").exit_code == 0
    with pytest.raises(UnusableInput, match="was revoked"):
        local.tenant_token(layout, "T")
    local.prepare(layout, ["T"])
    assert local.read(layout)["T"].token is None
    assert "T" not in json.loads(local.hashes(layout))
    done = run("create", "--tenant", "T", "--reason", "x", "--keep", "T")
    assert done.exit_code == 0, done.exception
    assert local.tenant_token(layout, "T") == OTHER
    assert local.read(layout)["T"].scopes == {"a2a"}


def test_another_platforms_token_is_not_put_into_this_ones_file(layout, service):
    """With --url it is another platform, whatever the key id."""
    before = layout.secret("credentials.json").read_text()
    url = ("--url", "https://mc.example")
    assert run("rotate", KEY, "--reason", "x", *url).exit_code == 0
    assert run("revoke", KEY, "--reason", "x", *url).exit_code == 0
    done = run("create", "--tenant", "T", "--reason", "x", "--keep", "T", *url)
    assert isinstance(done.exception, UnusableInput)
    assert layout.secret("credentials.json").read_text() == before


@pytest.mark.parametrize("text", ["90", "d", "1.5h", "-1d", "0d", "1w", "9999999999d"])
def test_a_time_that_is_none_is_refused(layout, service, text):
    """Before anything is asked of the service."""
    done = run("create", "--tenant", "T", "--reason", "x", f"--expires={text}")
    assert isinstance(done.exception, UnusableInput)
    assert service.asked == []


def test_a_credential_that_has_ended_is_a_finding(layout, service):
    """Exit 1, and this machine's file stays as it is."""
    service.error = Finding("the credential is revoked already")
    assert isinstance(run("revoke", KEY, "--reason", "x").exception, Finding)
    assert local.tenant_token(layout, "T") == TOKEN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "it is a list of 0, must be an object of entries by name: "),
        ("null", "it is null, must be an object"),
        ("7", "it is a number, must be an object"),
        ('"geheim"', "it is text, must be an object"),
        ('{"T": [1, 2]}', "T is a list of 2, must be a table"),
        (
            '{"T": {"principal": "p", "token": ["geheim"]}}',
            "T.token is a list of 1, must be a token",
        ),
        ('{"T": {"principal": "p", "role": "nurse"}}', "T.role: unknown 'nurse'; known: administr"),
        ('{"T": {"principal": "p", "token": "geheim"}}', "T.token is ***, must be a token: mc_..."),
        (f'{{"T": {{"token": "{TOKEN}"}}}}', "T.principal is missing"),
        (f'{{"T": {{"principal": "p", "tokn": "{TOKEN}"}}}}', "T.tokn is unknown; did you mean"),
        ('{"T": {"principal": "p"}, "T": {"principal": "q"}}', 'key "T" stands twice'),
        ("{", "it is not JSON"),
    ],
)
def test_a_file_of_credentials_is_read_strictly(layout, text, said):
    """Every problem is told, and no token."""
    layout.secret("credentials.json").write_text(text)
    with pytest.raises(UnusableInput) as caught:
        local.read(layout)
    assert said in caught.value.message
    assert "geheim" not in caught.value.message
    assert TOKEN not in caught.value.message


@pytest.mark.parametrize("name", ["../evil", "", "a b", "x" * 129, "OPERATOR"])
def test_a_token_is_made_only_if_it_can_be_kept(layout, service, name):
    """A name that the file takes, and no other's entry: else there would be a token without a place."""
    known = local.read(layout)
    operator = {"principal": "o@platform", "tenant": "PLATFORM", "role": "operator"}
    local.keep(layout, "OPERATOR", local.Entry(token=f"mc_{'a' * 12}_{'b' * 43}", **operator))
    done = run("create", "--tenant", "T", "--reason", "x", "--keep", name)
    assert isinstance(done.exception, UnusableInput)
    assert repr(name[:100]) in str(done.exception) or name == "OPERATOR"
    assert done.exception.hint
    assert service.asked == []
    assert local.read(layout).keys() == known.keys() | {"OPERATOR"}, "the file is read as before"


@pytest.mark.parametrize(
    ("content", "whose", "said"),
    [
        ('{"../x": {"principal": "p"}}', "T", "letters, digits"),
        ('{"T": {"principal": "agent@t"}}', "T", "was revoked"),
        ('{"T": {"principal": "agent@t"}}', "t", 'unknown tenant "t"'),
    ],
)
def test_a_token_that_cannot_be_used_is_told_by_its_reason(layout, content, whose, said):
    """A file with a fault, a revoked token, nobody of the name: `up` would mend none of them."""
    layout.secret("credentials.json").write_text(content)
    with pytest.raises(UnusableInput, match=said):
        access_token(None, whose)


HELD = {
    "key_id": KEY, "tenant": "T", "principal": "agent@t", "role": "agent", "scopes": None,
    "state": "valid", "origin": "import",
}  # fmt: skip


@pytest.fixture
def platform(monkeypatch):
    """What a platform has; `taken` are the tokens that it takes."""
    fake = SimpleNamespace(held=[HELD], more=False, taken={TOKEN})

    @contextmanager
    def client(_call, default):
        yield SimpleNamespace(
            tenants=lambda: {"tenants": [{"id": "T", "declared": True, "credentials": 1}]},
            credentials=lambda _tenant: {"credentials": fake.held, "more": fake.more},
        )

    monkeypatch.setattr(Access, "client", client)
    monkeypatch.setattr(tenant_verbs, "_taken", lambda _layout, token: token in fake.taken)
    return fake


def checked(layout, *args, **entries):
    """The exit code of `tenant check`, and the findings about the file."""
    layout.secret("credentials.json").write_text(json.dumps(entries))
    done = CliRunner().invoke(tenant_verbs.app, ["check", *args, "--output", "json"])
    told = json.loads(done.stdout)["findings"]
    assert "s" * 43 not in done.output
    return done.exit_code, [one.removeprefix("secrets/credentials.json: ") for one in told]


ENTRY = {"principal": "agent@t", "token": TOKEN}


def test_a_file_that_says_what_holds_has_no_findings(layout, platform):
    """Nor has an entry that was revoked here, which has no token any more."""
    assert checked(layout, T=ENTRY, GONE={"principal": "x"}) == (0, [])


@pytest.mark.parametrize(
    ("entry", "held", "said"),
    [
        ({"tenant": "T9"}, {}, "its tenant T9 is not in the catalogue (add it there"),
        ({"token": OTHER}, {}, f"the platform knows no key id {'f' * 12} (mcctl up imports"),
        ({"token": f"mc_{KEY}_{'x' * 43}"}, {}, "its token is refused: the platform has another"),
        ({}, {"state": "expired"}, f"its credential {KEY} is expired ("),
        ({}, {"state": "revoked"}, f"its credential {KEY} is revoked ("),
        ({}, {"tenant": "T8"}, "tenant is T, and the platform has T8 (mcctl up applies"),
        ({"principal": "me"}, {}, "principal is me, and the platform has agent@t (mcctl up"),
        ({"role": "auditor"}, {}, "role is auditor, and the platform has agent (mcctl up"),
        ({"scopes": ["a2a"]}, {}, "scopes is a2a, and the platform has all of its role (mcctl up"),
        ({"role": "auditor"}, {"origin": "administrator"},
         "role is auditor, and the platform has agent (an administrator made it: mend the entry)"),
    ],
)  # fmt: skip
def test_an_entry_that_opens_nothing_or_says_something_else_is_a_finding(
    layout, platform, entry, held, said
):
    """By its name, with what to do."""
    platform.held = [HELD | held]
    code, [told] = checked(layout, T=ENTRY | entry)
    assert code == 1
    assert told.startswith(f"T: {said}")


def test_two_entries_with_one_key_id_are_a_finding(layout, platform):
    """`mcctl up` would refuse the file."""
    code, told = checked(layout, T=ENTRY, SECOND=ENTRY | {"tenant": "T"})
    assert (code, len(told)) == (1, 1)
    assert told[0].startswith("SECOND: its token has the key id of T's")


def test_a_credential_beyond_a_long_list_is_asked_for_by_its_token(layout, platform):
    """That it is not among those that are listed says nothing then."""
    platform.held, platform.more = [], True
    assert checked(layout, T=ENTRY) == (0, [])
    platform.taken = set()
    assert checked(layout, T=ENTRY)[0] == 1


def test_another_tenants_entries_are_not_told_when_one_is_asked_for(layout, platform):
    """`tenant check T` is about T."""
    other = {"principal": "x", "token": OTHER, "tenant": "T9"}
    assert checked(layout, "T", T=ENTRY, OTHER=other) == (0, [])
    assert checked(layout, T=ENTRY, OTHER=other)[0] == 1


def test_the_first_credentials_of_a_platform_elsewhere(layout, tmp_path):
    """A token for each tenant and role that has none; only hashes are printed."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text("[tenants.T]\n[tenants.NEW]\n")
    done = CliRunner().invoke(verbs.app, ["prepare", "--catalogue", str(catalogue)])
    hashes = json.loads(done.stdout)
    kept = json.loads(layout.secret("credentials.json").read_text())
    assert done.exit_code == 0
    assert set(hashes) == set(kept) == {"T", "NEW", *local.ROLES}
    assert kept["T"]["token"] == TOKEN
    assert not any(one["token"] in done.output for one in kept.values())
    assert hashes["NEW"]["key_id"] == kept["NEW"]["token"].split("_")[1]


def test_first_credentials_need_a_home_of_their_own(monkeypatch, tmp_path):
    """Those of a platform on this machine are `mcctl up`'s."""
    monkeypatch.delenv("MC_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(verbs.app, ["prepare", "--catalogue", "none"])
    assert isinstance(done.exception, UnusableInput)
    assert list(tmp_path.iterdir()) == []
