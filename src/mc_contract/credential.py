"""The form of a tenant's bearer token: `mc_<key id, 12 hex>_<secret, 43 of base64url>`.

Who authenticates one and who screens for one must mean the same thing.
"""

from __future__ import annotations

import secrets

KEY_ID_FORM = r"[0-9a-f]{12}"
SECRET_FORM = r"[A-Za-z0-9_\-]{43}"  # noqa: S105 - its form, not a secret
TOKEN_FORM = f"mc_{KEY_ID_FORM}_{SECRET_FORM}"


def new_token() -> str:
    """A token that nobody has yet."""
    return f"mc_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def parts_of(token: str) -> tuple[str, str]:
    """Key id and secret of a token that has the form."""
    _, key_id, secret = token.split("_", 2)
    return key_id, secret
