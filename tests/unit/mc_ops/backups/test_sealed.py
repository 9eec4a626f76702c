"""A sealed file is given back whole, or refused; a key file is a key, or refused."""

from __future__ import annotations

import io
import tarfile
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_ops.backups.keys import BackupKey, make_key, read_key
from mc_ops.backups.sealed import Label, Readable, seal, unseal
from mc_ops.errors import Finding, UnusableInput

KEY = BackupKey(b"k" * 32)
LABEL = Label("7001", "b-1", "base.sealed")
_CHUNK = 1024 * 1024 + 16


def _sealed(path, content, *, key=KEY, label=LABEL):
    with path.open("wb") as file:
        seal(iter(content), file, key, label)
    return path


@pytest.fixture
def noise():
    """Four chunks of what does not compress."""
    import random

    return [random.Random(1).randbytes(3 * 1024 * 1024 + 5)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_what_was_sealed_is_given_back(tmp_path_factory, content):
    """Whatever the stream and its pieces are, an empty one too."""
    path = _sealed(tmp_path_factory.mktemp("s") / "f", content)
    assert b"".join(unseal(path, KEY, LABEL)) == b"".join(content)


def _flip(raw, at):
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def _body(raw):
    """Where the chunks begin: behind magic, length and header."""
    return 12 + int.from_bytes(raw[8:12], "big")


TAMPERED = {
    "a byte of the first chunk": lambda raw: _flip(raw, _body(raw) + 100),
    "the last byte": lambda raw: _flip(raw, len(raw) - 1),
    "the header's salt": lambda raw: _flip(raw, _body(raw) - 5),
    "cut inside a chunk": lambda raw: raw[:-1000],
    "cut between chunks": lambda raw: raw[: _body(raw) + 2 * _CHUNK],
    "cut to the header": lambda raw: raw[: _body(raw)],
    "cut to nothing": lambda _raw: b"",
    "two chunks swapped": lambda raw: (
        raw[: _body(raw)]
        + raw[_body(raw) + _CHUNK : _body(raw) + 2 * _CHUNK]
        + raw[_body(raw) : _body(raw) + _CHUNK]
        + raw[_body(raw) + 2 * _CHUNK :]
    ),
    "a chunk left out": lambda raw: raw[: _body(raw)] + raw[_body(raw) + _CHUNK :],
    "a chunk repeated": lambda raw: raw[: _body(raw) + _CHUNK] + raw[_body(raw) :],
    "something appended": lambda raw: raw + b"x",
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_file_that_was_tampered_with_is_refused(tmp_path, noise, how):
    """Each names the file; nothing is given back as if it were the end."""
    path = _sealed(tmp_path / "base.sealed", noise)
    path.write_bytes(TAMPERED[how](path.read_bytes()))
    with pytest.raises(Finding, match=r"base\.sealed"):
        list(unseal(path, KEY, LABEL))


@pytest.mark.parametrize(
    ("key", "label", "why"),
    [
        (BackupKey(b"o" * 32), LABEL, "is sealed with the key"),
        (KEY, Label("7002", "b-1", "base.sealed"), "a backup of another platform"),
        (KEY, Label("7001", "b-2", "base.sealed"), "expected base.sealed"),
        (KEY, Label("7001", "b-1", "files.sealed"), "expected files.sealed"),
    ],
)
def test_a_file_of_another_key_or_place_is_refused(tmp_path, key, label, why):
    """A whole file in the place of another is found by its label."""
    path = _sealed(tmp_path / "f", [b"content"])
    with pytest.raises(Finding, match=why):
        list(unseal(path, key, label))


def test_two_files_of_the_same_content_have_no_chunk_in_common(tmp_path):
    """Each has a key of its own, so no chunk of one opens in the other."""
    one, two = (_sealed(tmp_path / name, [b"same" * 1000]).read_bytes() for name in "ab")
    assert one[_body(one) :] != two[_body(two) :]


def test_a_tar_is_read_from_a_sealed_stream(tmp_path):
    """`tarfile` reads it piece by piece, and what follows the tar's end is verified too."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        info = tarfile.TarInfo("a/b")
        info.size = 3_000_000
        tar.addfile(info, io.BytesIO(b"x" * 3_000_000))
    raw = whole.getvalue()
    pieces = [raw[a:b] for a, b in pairwise([0, 1000, 2_000_000, len(raw)])]
    source = Readable(unseal(_sealed(tmp_path / "f", pieces), KEY, LABEL))
    with tarfile.open(fileobj=source, mode="r|") as tar:
        assert [(member.name, member.size) for member in tar] == [("a/b", 3_000_000)]
    source.drain()
    assert source.read(1) == b""


def test_a_key_is_made_once_and_read_again(tmp_path):
    """Its id does not change, and its representation shows nothing of it."""
    path = tmp_path / "backup.key"
    made = make_key(path)
    assert (make_key(path), read_key(path).id, path.stat().st_mode & 0o777) == (
        made,
        made.id,
        0o600,
    )
    assert repr(made) == "BackupKey()"


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"", 0o600, "holds no backup key"),
        (b"short\n", 0o600, "holds no backup key"),
        (b"\xff" * 43, 0o600, "holds no backup key"),
        (b"A" * 43 + b"\n", 0o644, "can be read by others"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path, content, mode, why):
    path = tmp_path / "backup.key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(UnusableInput, match=why):
        read_key(path)
