"""What the red-team sends to its target."""

from __future__ import annotations

import asyncio
import json

import pytest

from mc_ops.redteam.case import Ask, says
from mc_ops.redteam.target import Target, _objects


@pytest.mark.parametrize("token", ["mc_0123456789ab_secret", "opaque-token", "a_b"])
@pytest.mark.parametrize("how", ["flip", "cut", "unknown-key", "other-secret"])
def test_a_credential_is_spoilt_whatever_its_form(token: str, how: str) -> None:
    """Another platform's token may have another form than ours; true, it would be no attack."""

    async def sent() -> str:
        target = Target("http://127.0.0.1:1", tokens={"TENANT_001": token}, agent_url=None)
        request = target._request(Ask(parts=says("hello"), corrupt=how), "key", "")
        await target.close()
        return str(request.headers["Authorization"])

    assert asyncio.run(sent()) != f"Bearer {token}"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_is_read_by_its_own_lines(end: str) -> None:
    """An agent's text may hold U+2028 and U+0085 bare: what leaks behind one is seen."""
    events = [{"text": "a\u2028b\u0085leak"}, {"text": "c"}]
    body = end.join(f"data: {json.dumps(one, ensure_ascii=False)}{end}" for one in events)
    assert list(_objects(body)) == events
