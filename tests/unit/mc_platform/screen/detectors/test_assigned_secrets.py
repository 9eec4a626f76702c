"""Secrets that are assigned: how code, settings and people write that, and what only looks alike."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
DRAWN = "kR8vQ2mZx7LpT4w" + "Yc9BnD3sF"
UUID = "7b0f4f0e-2f7a-4b55-9c0d-54a1c7a2f9d3"
PASSWORD = "8nZ!kV4%" + "beta"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f'githubToken = "{DRAWN}"', DRAWN),
        (f'String linkedinToken = "{DRAWN}"', DRAWN),
        (f'mySecret := "{DRAWN}"', DRAWN),
        (f'confluent_TOKEN ::= "{DRAWN}"', DRAWN),
        (f'confluent_TOKEN ?= "{DRAWN}"', DRAWN),
        (f'let api_token: &str = "{DRAWN}";', DRAWN),
        (f'const apiKey: string = "{DRAWN}"', DRAWN),
        (f'password: Optional[str] = "{PASSWORD}"', PASSWORD),
        (f'api_key varchar(64) = "{DRAWN}"', DRAWN),
        (f'client_secret: "{UUID}"', UUID),
        (f'"clientSecret": "{UUID}"', UUID),
        (f"login with password {PASSWORD}.", PASSWORD + "."),  # which of them ends it, nobody knows
        (f'apiToken := "Bearer {DRAWN}"', DRAWN),
        (f"GET /v1/users?key={UUID}", UUID),
        ('layer_key: "031eiaqplnq39py5ppsctxo6n2xj5t10"', "031eiaqplnq39py5ppsctxo6n2xj5t10"),
        (f"apiKey |{DRAWN}", DRAWN),
        (f"<secret>{DRAWN}</secret>", DRAWN),
        (f"<db:clientSecret>{DRAWN}</db:clientSecret>", DRAWN),
        (f"<password>{PASSWORD}</password>", PASSWORD),
        ("password: Barcelona!92x", "Barcelona!92x"),
        ("The database password is Truelove#2019", "Truelove#2019"),
        ('{"password": "My_D0g!sRex"}', "My_D0g!sRex"),
        (f"API_KEY=key_live_{DRAWN}", f"key_live_{DRAWN}"),
        (f"The API key is hash_{DRAWN} ok", f"hash_{DRAWN}"),
        (f"API_KEY=tpuf_{DRAWN}", f"tpuf_{DRAWN}"),
        (f'let api_key: String = String::from("{DRAWN}");', DRAWN),
        (f'var clientSecret *string = aws.String("{DRAWN}")', DRAWN),
        (f'token = f"{DRAWN}"', DRAWN),
        (f'API_KEY <- "{DRAWN}"', DRAWN),
        (f"token \N{EN DASH} {DRAWN}", DRAWN),
        (f"secret: !!str {DRAWN}", DRAWN),
        (f"apiKey: >-\n  {DRAWN}", DRAWN),
        (f"Password (db): {PASSWORD}", PASSWORD),
        (f"the password for the VPN was {PASSWORD}", PASSWORD),
        (f'setx API_KEY "{DRAWN}"', DRAWN),
        (f'define("DB_PASSWORD", "{PASSWORD}");', PASSWORD),
        (f'(setq api-key "{DRAWN}")', DRAWN),
        (f'ALTER USER joe IDENTIFIED BY "{PASSWORD}"', PASSWORD),
        (f"ENV API_TOKEN {DRAWN}", DRAWN),
        (f"deploy --token {DRAWN} --force", DRAWN),
        (f"| API Key\t{DRAWN} |", DRAWN),
        (f"use {PASSWORD} as the password", PASSWORD),
        ("You can log in with password Schalke04!", "Schalke04!"),
        ("smtp_pass=Vt6#qLm29", "Vt6#qLm29"),
        (f"pw: {DRAWN}", DRAWN),
        ("password: Example!2024x", "Example!2024x"),
        ("password: Default@99x", "Default@99x"),
        (f"<client_secret>{UUID}</client_secret>", UUID),
        (f'<property name="password">{DRAWN}</property>', DRAWN),
    ],
)
def test_an_assigned_secret_is_found_whole(text: str, secret: str) -> None:
    """The label's span is the secret."""
    labels = SCREENER.screen(({"text": text},)).labels
    assert {(label.type, text[label.start : label.end]) for label in labels} == {
        ("secret-key", secret)
    }


@pytest.mark.parametrize(
    "text",
    [
        "tokenizationId: '3f0749d0b7d52b20cf1cb80b2b73a41b'",
        "secretName: '3f0749d0b7d52b20cf1cb80b2b73a41b'",
        "tokenId: '3f0749d0b7d52b20cf1cb80b2b73a41b'",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf",
        'password: "your_Password1!"',
        "password = default_1",
        "secret_key_path = /etc/keys/a1b2c3d4e5f6a7b8c9d0",
        "secretary: Kb72xWq9LmP04zTr",
        f"if token > {DRAWN.lower()}:",
        f"run_id: {UUID}",
        f"key: {UUID}",
        "cache_key: 3f0749d0b7d52b20cf1cb80b2b73a41b",
        f"public_key = {DRAWN}",
        f"public key: {DRAWN}",
        f"public key {DRAWN}",
        'token = os.environ.get("GITHUB_TOKEN_V2_2024")',
        'token = f"{prefix}_{kind}_A1b2C3d4"',
        "password: Example-Password-1",
        "The password Base64-encoded is sent in the header.",
        "Reset the password SHA-256-hashed before 2024-11-12.",
        "test_pass: run_17_ok",
        "pass: 12.5ms/op",
        "the token kubernetes.io/service-account.v1.2",
        "tokens: 1234 prompt, 567 completion",
    ],
)
def test_what_is_about_a_secret_is_none(text: str) -> None:
    """Ids, names, paths, examples and comparisons hold no secret."""
    assert "secret-key" not in SCREENER.screen(({"text": text},)).types


@pytest.mark.parametrize("key", ["auth", "Authorization", "pat", "smtpPw"])
def test_a_key_of_more_than_secrets_announces_what_is_drawn(key: str) -> None:
    """What such a key else holds is a word, a mode or a number."""
    for value, types in (
        (DRAWN, {"secret-key"}),
        ("oauth2-pkce-v2-flow-3", set()),
        ("12/15", set()),
    ):
        assert SCREENER.screen(({"data": {key: value}},)).types == types
