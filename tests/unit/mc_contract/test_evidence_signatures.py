"""A signature has one spelling, and a file of keys is read whole or not at all."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.evidence import UnusableKey, key_id, load_trusted_keys
from mc_contract.evidence.dsse import PublicKey, sign, signature_problem

KEY = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
ED_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MESSAGE = b"what is signed"
P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_L = 2**252 + 27742317777372353535851937790883648493


def _pem(key: PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@given(st.binary(max_size=40))
def test_what_is_signed_has_the_lower_s_and_fits(message: bytes) -> None:
    """Both of the two s values fit in ECDSA; only the lower is made, and accepted."""
    signature = sign(KEY, message)
    r, s = decode_dss_signature(signature)
    assert s <= P256_N // 2
    assert signature_problem(KEY.public_key(), signature, message) is None
    twin = encode_dss_signature(r, P256_N - s)
    assert "higher of two" in str(signature_problem(KEY.public_key(), twin, message))


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 1), (1, 0), (-1, 1), (1, -1), (P256_N, 1), (1, P256_N), (P256_N + 1, 1)],
)
def test_an_integer_out_of_range_is_refused(r: int, s: int) -> None:
    """FIPS 186: r and s are from 1 to n - 1."""
    spelled = b"".join(_integer(value) for value in (r, s))
    signature = b"\x30" + bytes([len(spelled)]) + spelled
    assert signature_problem(KEY.public_key(), signature, MESSAGE) in (
        "it has an integer out of range",
        "it is not the DER of two integers",
    )


def _integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    return bytes([2, len(raw)]) + raw


def test_other_spellings_of_the_same_two_integers_are_refused() -> None:
    """A leading zero, a long length, bytes after the end, a cut: none of them is the signature."""
    good = sign(KEY, MESSAGE)
    r, s = decode_dss_signature(good)
    padded = b"\x02" + bytes([len(_integer(r)) - 1]) + b"\x00" + _integer(r)[2:] + _integer(s)
    others = [
        b"\x30" + bytes([len(padded)]) + padded,  # r with one zero too many
        b"\x30\x81" + good[1:],  # the long form of a short length
        good + b"\x00",
        good[:-1],
        b"",
        b"\x30\x00",
        r.to_bytes(32, "big") + s.to_bytes(32, "big"),  # IEEE P1363
    ]
    for signature in others:
        assert signature_problem(KEY.public_key(), signature, MESSAGE) is not None, signature.hex()


def test_an_ed25519_signature_has_one_spelling_too() -> None:
    """S plus the group's order would fit the same equation."""
    good = sign(ED_KEY, MESSAGE)
    key = ED_KEY.public_key()
    assert signature_problem(key, good, MESSAGE) is None
    s = int.from_bytes(good[32:], "little")
    twin = good[:32] + (s + ED25519_L).to_bytes(32, "little")
    assert signature_problem(key, twin, MESSAGE) == "its S is not below the group's order"
    assert signature_problem(key, good + b"\x00", MESSAGE) == "it has 65 bytes, expected 64"
    assert signature_problem(key, b"", MESSAGE) == "it has 0 bytes, expected 64"
    assert "does not fit" in str(signature_problem(key, good, MESSAGE + b"!"))


def test_a_file_may_hold_several_keys_and_text() -> None:
    """All keys of a file are trusted, with CRLF, a byte order mark and text between them."""
    keys = [KEY.public_key(), ED_KEY.public_key()]
    text = b"\xef\xbb\xbfkeys of 2026\r\n" + b"\r\nthe next one:\r\n".join(map(_pem, keys))
    found = load_trusted_keys(text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert [one.key_id for one in found] == [key_id(key) for key in keys]


def test_a_file_with_anything_else_than_keys_is_refused_whole() -> None:
    """A damaged second key, a private key or a certificate is not passed over in silence."""
    good = _pem(KEY.public_key())
    private = ED_KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    cut = _pem(ED_KEY.public_key())[:-10]
    damaged = good.replace(b"MFkw", b"MFkx")
    for other in (private, certificate, cut, damaged, b"-----BEGIN PUBLIC KEY-----\n"):
        for text in (good + other, other + good):
            with pytest.raises(UnusableKey):
                load_trusted_keys(text)
    with pytest.raises(UnusableKey):
        load_trusted_keys(b"no key at all")
