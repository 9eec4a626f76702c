"""The logs, read and followed."""

from __future__ import annotations

from pathlib import Path

from mc_ops.environments.local.logs import read_logs


def test_a_line_that_is_being_written_is_told_once_and_whole(tmp_path: Path) -> None:
    """Following, an unfinished line waits for its end; without following it is shown as it is."""
    log = tmp_path / "edge.log"
    log.write_bytes('one\n{"half": "é'.encode()[:-1])
    assert len(list(read_logs(tmp_path, ["edge"], lines=5, follow=False))) == 2
    following = read_logs(tmp_path, ["edge"], lines=5, follow=True)
    assert next(following).text == "one"
    with log.open("ab") as file:
        file.write('é"}\n'.encode()[1:])
    assert next(following).text == '{"half": "é"}'
    log.write_text("anew\n")
    assert next(following).text == "anew"
    following.close()  # type: ignore[attr-defined]  # a generator, behind the Iterator
