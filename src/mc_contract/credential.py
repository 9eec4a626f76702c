"""The form of a tenant's bearer token: `mc_<key id, 12 hex>_<secret, 43 of base64url>`.

Who authenticates one and who screens for one must mean the same thing.
"""

from __future__ import annotations

KEY_ID_FORM = r"[0-9a-f]{12}"
SECRET_FORM = r"[A-Za-z0-9_\-]{43}"  # noqa: S105 - its form, not a secret
TOKEN_FORM = f"mc_{KEY_ID_FORM}_{SECRET_FORM}"
