"""File parts whose URL leads inwards are labelled; links to public hosts are not."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fakes import ROOT, HostileAgent, MemoryLedger, local_catalogue, request_path

from mc_contract.governance import Governance
from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.errors import PolicyDenied
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import Principal
from mc_platform.request_path import Envelope
from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
FULL_WIDTH_LOCALHOST = "xn--" + "ｌｏｃａｌｈｏｓｔ".encode("punycode").decode()

INWARDS = [
    # other schemes, and none
    "file:///etc/passwd",
    "FiLe://host/share",
    "gopher://a.example/",
    "javascript:alert(1)",
    "ftp://a.example/x",
    "dict://a.example:11211/",
    "ldap://a.example",
    "jar:https://a.example!/x",
    "view-source:https://a.example",
    "blob:https://a.example/1",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "//169.254.169.254/",
    "/etc/passwd",
    "report.pdf",
    "",
    # what parsers take differently
    "http:/127.0.0.1",
    "http:example.com",
    "https:///example.com/",
    "https:\\\\127.0.0.1",
    "https://example.com\\@127.0.0.1/",
    "https://example.com@127.0.0.1/",
    "https://user:pass@example.com/",
    "https://127.0.0.1#@example.com/",
    "https://127.0.0.1?@example.com",
    "ht\ntps://example.com/",
    "https://exa\tmple.com/",
    "https://127.0.0.1\x00.example.com/",
    "https://example.com%00.internal/",
    "https://127.0.0.1%20/",
    "https://example.com:99999/",
    "https://[::1",
    "https://[v1.a]/",
    "https://a..example.com/",
    # IPv4 in every spelling
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.1./",
    "http://127.0.0.1:8080/",
    "http://%31%32%37.0.0.1/",
    "http://１２７.０.０.１/",
    "http://127。0。0。1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.31.255.254/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xA9FEA9FE/",
    "http://2852039166/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://8.8.2056/",
    "http://256.256.256.256/",
    # IPv6, and IPv4 within it
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:10.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:1234::5efe:7f00:1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    # names
    "http://localhost/",
    "http://LOCALHOST:8080/",
    "http://localhost./",
    "http://a.localhost/",
    "http://ⓛocalhost/",
    "http://local\u00adhost/",
    "http://local\u200bhost/",
    f"http://{FULL_WIDTH_LOCALHOST}/",
    f"http://{FULL_WIDTH_LOCALHOST}.com/",
    "http://xn--/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://METADATA.google.internal./",
    "http://metadata.tencentyun.com/",
    "http://metadata/",
    "http://redis:6379/",
    "http://api.shop.svc.cluster.local/",
    "http://printer.lan/",
    "http://10.0.0.1.nip.io/",
    "http://a.localtest.me/",
]
PUBLIC = [
    "https://example.com/",
    "http://example.com/report.pdf?x=1#y",
    "HTTPS://Example.COM./a%20b",
    " https://example.com/x ",
    "https://example.com:8443/x",
    "https://example.com/@user/file",
    "https://example.com/redirect?to=http://127.0.0.1/",
    "https://files.example/?q=1&a=file:///x",
    "https://bücher.example/",
    "https://xn--bcher-kva.example/",
    "https://xn--strae-oqa.de/",
    "https://例え.jp/ファイル",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[64:ff9b::8.8.8.8]/",
    "https://my_bucket.s3.amazonaws.com/k",
    "https://internal.example.com/",
    "https://localhost.example.com/",
    "https://10.0.0.1.example.com/",
    "https://a-b--c.example.org/",
]


@pytest.mark.parametrize("url", INWARDS)
def test_a_url_that_may_lead_inwards_is_labelled(url: str) -> None:
    """With a class of its own and a reason that quotes nothing; in the form of A2A 0.3 as well."""
    for part in ({"url": url, "mediaType": "text/plain"}, {"file": {"uri": url}}, {"uri": url}):
        screening = SCREENER.screen((part,))
        assert "unsafe-url" in screening.types
        assert "network" in screening.classes
        [label] = [label for label in screening.labels if label.type == "unsafe-url"]
        assert label.reason.startswith("The URL")


@pytest.mark.parametrize("url", PUBLIC)
def test_an_ordinary_link_to_a_public_host_is_not_labelled(url: str) -> None:
    """Nor is any URL that is not a file part's: data and text say whatever they say."""
    assert "unsafe-url" not in SCREENER.screen(({"url": url},)).types


def test_only_file_parts_are_judged() -> None:
    """A data part may describe a machine; a text may speak of one."""
    parts = ({"data": {"url": "http://10.0.0.1/"}}, {"text": "see http://localhost:8080/docs"})
    assert "unsafe-url" not in SCREENER.screen(parts).types


def test_the_url_is_gone_after_redaction() -> None:
    """A part without its URL is text that says so; what the sender says of it is kept."""
    parts = ({"url": "file:///etc/passwd", "mediaType": "x", "metadata": {"k": "v"}},)
    assert SCREENER.redact(parts, SCREENER.screen(parts)) == (
        {"text": "[unsafe-url]", "metadata": {"k": "v"}},
    )
    nested = ({"kind": "file", "file": {"uri": "file:///etc/passwd"}},)
    assert "passwd" not in str(SCREENER.redact(nested, SCREENER.screen(nested)))


# -- the default policy, in both directions ----------------------------------------------------


async def send(reply: dict[str, Any], *parts: dict[str, Any]) -> tuple[Any, HostileAgent]:
    """One message to `records`, which answers with one part."""
    agent = HostileAgent({"result": {"message": {"parts": [reply]}}})
    path = request_path(
        catalogue=local_catalogue(),
        decisions=CedarDecisionPoint.load(ROOT / "policies"),
        screener=SCREENER,
        ledger=MemoryLedger(),
        downstream=agent,
    )
    tenant = TenantId("TENANT_001")
    envelope = Envelope(
        principal=Principal(PrincipalId("agent@tenant-001"), tenant, "0" * 12),
        message_id="m-1",
        context_id="c-1",
        parts=parts,
        governance=Governance(),
    )
    return path.handle(envelope), agent


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://169.254.169.254/", "http://127.1"])
async def test_the_default_policy_refuses_it_both_ways(url: str) -> None:
    """An agent is not asked; a reply is withheld as a whole, for it is a sign of an attack."""
    sending, agent = await send({"text": "hello"}, {"url": url, "mediaType": "text/plain"})
    with pytest.raises(PolicyDenied, match="plain http or https link"):
        await sending
    assert agent.asked == []
    sending, agent = await send({"url": url}, {"text": "hello"})
    with pytest.raises(PolicyDenied, match="plain http or https link") as denied:
        await sending
    assert len(agent.asked) == 1
    assert url not in denied.value.message


async def test_the_default_policy_lets_a_public_link_pass() -> None:
    """As it did: to the agent and back."""
    link = {"url": "https://files.example.com/report.pdf", "mediaType": "application/pdf"}
    sending, agent = await send(link, link)
    assert (await sending).parts == (link,)
    assert agent.asked[0]["parts"] == (link,)
