"""Secrets that commands, attributes, cookies and sentences hand over, and what only looks alike."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
PHRASE = "legal winner thank year wave sausage worth useful legal winner thank yellow"
HEX = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c"


def secrets(text):
    labels = SCREENER.screen(({"text": text},)).labels
    return [text[lb.start : lb.end] for lb in labels if lb.type == "secret-key"]


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("machine api.x.io login bob password ", "Hn3kQ9zLw", ""),
        ("mysql -uroot -p", "Xk39dLqz8", " app"),
        ('sshpass -p "', "Vt6#qLm29", '" ssh root@h'),
        ("redis-cli -h cache -a ", "Vt6qLm29zz", " ping"),
        ("docker login -u bob -p ", "dckr_pat_" + "x8Kq3LmZp0QwErTyUiOpAsDfGhJ", ""),
        ("openssl enc -k ", "S0meStr0ngK3y77", ""),
        ('<add key="ApiKey" value="', "7f3c9a1b5e2d4860a1c3e5f7092b4d6e", '"/>'),
        ('{"name": "DB_PASSWORD", "value": "', "Kq82hdLsx", '"}'),
        ("Set-Cookie: session=", HEX, "; HttpOnly"),
        ("Cookie: theme=dark; connect.sid=", HEX, ""),
        ("the wifi key is ", "Kx9vTq2mLp", ""),
        ("OTP code ", "483920", ""),
        ("your verification code is ", "483 920", ""),
        ("recovery codes: ", "8f3k-29dm, k2l9-xx81", ""),
        ("TOTP secret ", "JBSWY3DPEHPK3PXPJBSWY3DP", ""),
        ("seed phrase: ", PHRASE, ""),
        ("", "AGE-SECRET-KEY-1" + "QJEPM0E2LJ8U5T9F7VYQ3ZK4XW6R0S2D8C5N9H3G7A1L4M6P8", ""),
    ],
)
def test_what_is_handed_over_is_found_whole(before, value, after):
    """The value alone, so that the command around it can still be read."""
    assert value in secrets(before + value + after)


@pytest.mark.parametrize(
    "text",
    [
        "machine api.x.io login bob password from the vault",
        "mysql -uroot -p app",
        "mysql -P 3306 -h db.internal",
        'sshpass -p "$PASS" ssh root@h',
        "docker run -p 8080:8080 app",
        "docker login -u bob --password-stdin",
        "openssl genrsa -out key.pem 2048",
        '<add key="ApiKey" value="YOUR_API_KEY_GOES_HERE_1"/>',
        '<input name="password" value="" type="password">',
        '{"name": "DB_PASSWORD", "value": "${DB_PASSWORD}"}',
        "Set-Cookie: theme=9f8e7d6c5b4a39281706; Path=/",
        "Set-Cookie: session=deleted; Max-Age=0",
        "the wifi key is on the back of the router",
        "Enter the OTP code from the app",
        "the OTP code has 6 digits",
        "recovery codes: see the settings page",
        "the TOTP secret AAAAAAAAAAAAAAAAAAAA is an example",
        "seed phrase: twelve words which the wallet shows once for your own safe keeping only",
        "seed: 42",
        '<meta name="csrf-token" content="4f3c2a1b9d8e7f60514233aa">',
        "rsync -a src/Dir1 -p x",
        "openssl enc -aes-256-cbc -pass pass:$PASS",
        "wifi key is WPA2-PSK",
        "network key: AES-128-CCM",
        "AGE-SECRET-KEY-1 is how such keys begin",
    ],
)
def test_what_holds_no_secret_is_left_alone(text):
    """Options without a value, variables, examples, and sentences about secrets."""
    assert secrets(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "pk_live_51H8xQ2mZx7LpT4wYc9BnD3sFkR8vQ2mZx",
        *(f"{word}AbCdEf1234567890GhIjKlMnOpQrStUv" for word in ("chatcmpl-", "thread_", "order-")),
        "run test_ThisIsTheNameOfATest2024ForOrders12",
        "chunk-vendors-3f0749d0b7d52b20cf1cb80b2b73a41b",
        "ipfs-QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPB",
        "block blk_6221374172830583812",
    ],
)
def test_what_an_issuer_means_to_be_seen_is_no_key(text):
    """Publishable keys, ids of calls, digests, names in camelCase."""
    assert secrets(text) == []


@pytest.mark.parametrize("before", ["", "Use ", "key=", '"', "(see "])
def test_a_word_and_what_is_drawn_behind_it_is_a_key_of_any_issuer(before):
    """The word is part of the key; what is around it stays."""
    for key in ("tgp_v1_" + HEX[:16] + "QmYwAPJzv5CZsnA6", "tok_live_" + "N7YtMb1truklFHGOiXKWlQ"):
        assert set(secrets(f"{before}{key}, please")) == {key}
