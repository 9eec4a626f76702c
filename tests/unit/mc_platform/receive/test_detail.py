"""The scrape credential: a file with one token that cannot be guessed."""

from __future__ import annotations

import pytest

from mc_platform.errors import Misconfigured
from mc_platform.receive.detail import DetailRule

TOKEN = "t" * 32


@pytest.mark.parametrize("content", ["", "short", "\n", "two words of " + "x" * 40])
def test_what_is_no_credential_is_refused_at_the_start(tmp_path, content):
    """An empty file must not mean that an empty token opens everything."""
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(Misconfigured, match="MC_SCRAPE_TOKEN_FILE"):
        DetailRule(file)
    with pytest.raises(Misconfigured, match="MC_SCRAPE_TOKEN_FILE cannot be read"):
        DetailRule(tmp_path / "none")


@pytest.mark.parametrize(
    ("header", "opens"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        (f"Bearer {TOKEN}x", False),
        ("Bearer ", False),
        ("Bearer \u00e9\u20ac", False),
        (None, False),
    ],
)
def test_only_the_token_as_a_bearer_opens(tmp_path, header, opens):
    """Whatever else a header holds, it is refused and not a crash."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert DetailRule(file).opens(header) is opens
    assert DetailRule(None).opens(header) is False


def test_a_file_that_became_unusable_opens_nothing(tmp_path):
    """Fail closed: emptied, then taken away."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    rule = DetailRule(file)
    for spoil in (lambda: file.write_text(""), file.unlink):
        spoil()
        assert not rule.opens(f"Bearer {TOKEN}")
        assert not rule.opens("Bearer ")
