"""Secrets and keys, by the rules of detect-secrets, and the platform's own tokens.

The rules' patterns run in re2, so that no input can make them backtrack. A finding is stretched
over the whole token: the rules tell that a secret is there, redaction must not leave its tail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import re2
from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from mc_contract.credential import TOKEN_FORM
from mc_platform.screen.findings import SECRET_KEY, Budget, Finding

_PLUGINS: tuple[type[RegexBasedDetector], ...] = (
    AWSKeyDetector,
    AzureStorageKeyDetector,
    BasicAuthDetector,
    DiscordBotTokenDetector,
    GitHubTokenDetector,
    GitLabTokenDetector,
    JwtTokenDetector,
    MailchimpDetector,
    NpmDetector,
    OpenAIDetector,
    PrivateKeyDetector,
    PypiTokenDetector,
    SendGridDetector,
    SlackDetector,
    SquareOAuthDetector,
    StripeDetector,
    TelegramBotTokenDetector,
    TwilioKeyDetector,
)
_TAIL = re.compile(r"[A-Za-z0-9_\-+/=]*")
_JWT_TAIL = re.compile(r"[A-Za-z0-9_\-+/=.]*")
_LONG_REPETITION = re.compile(r"\{(\d+),\d{3,}\}")
_EXAMPLE_LOGIN = re.compile(
    r"(?i)://[^:]{0,64}:(?:pass\w{0,6}|pw|pwd|secret|token|x{3,}|\*+|\.{3}|<[^>]*>|\$?\{[^}]*\}?|\$\w+|%\w*|key|"
    r"my_?pass\w*|your\w*|changeme|example|[a-z]{1,3}|user)@"
)
_END_MARK = "-----END"
_LONGEST_BLOCK = 1 << 16
_OWN_TOKEN = "mc-platform.token"  # noqa: S105 - the name of a rule


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One pattern: for the prefilter as text, for spans compiled; `stretch` ends the secret."""

    name: str
    pattern: str
    compiled: re2._Regexp
    stretch: Callable[[str, int], int]
    valid: Callable[[str], bool]


def _over_token(text: str, end: int) -> int:
    found = _TAIL.match(text, end)
    return end if found is None else found.end()


def _over_jwt(text: str, end: int) -> int:
    found = _JWT_TAIL.match(text, end)
    return end if found is None else end + len(found[0].rstrip("."))


def _over_key_block(text: str, end: int) -> int:
    # The rule sees the header only; the key is what follows. Without an end mark the rest of
    # the string is taken: half a key is a secret too.
    mark = text.find(_END_MARK, end, end + _LONGEST_BLOCK)
    if mark < 0:
        return min(len(text), end + _LONGEST_BLOCK)
    close = text.find("-----", mark + len(_END_MARK))
    return len(text) if close < 0 else close + 5


_SHORT_VALUE = 10
_FEW_KINDS, _MOST = 2, 0.5


def _always(_: str) -> bool:
    return True


def _is_drawn(token: str) -> bool:
    """Whether a token's value looks drawn: what documents put in its place repeats one character."""
    value = max(re.split(r"[_\-.:/=\s]", token), key=len)
    if token[-12:].count("*") + token[-12:].count("#") > 2:
        return False
    if len(value) < _SHORT_VALUE:
        return True
    most = max(map(value.lower().count, set(value.lower())))
    return len(set(value)) >= _FEW_KINDS and most <= _MOST * len(value)


def _rule(name: str, pattern: str, plugin: type[RegexBasedDetector] | None = None) -> KeyRule:
    stretch: Callable[[str, int], int] = _over_token
    valid: Callable[[str], bool] = _is_drawn
    if name == _OWN_TOKEN:
        valid = _always  # whoever issues it knows its form
    elif plugin is JwtTokenDetector:
        stretch, valid = _over_jwt, _is_jwt
    elif plugin is PrivateKeyDetector:
        stretch, valid = _over_key_block, _is_key_block
    elif plugin is BasicAuthDetector or name.endswith("url.login"):
        valid = _is_no_example
    return KeyRule(name, pattern, re2.compile(pattern), stretch, valid)


_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{16}|-----(?:\s|\\n)+[A-Za-z0-9+/=]{4,}(?:\s|\\n)+-----END")

_BLOCK_CHARS = 2048
_STRETCH_WORK = 0.05


def _is_key_block(block: str) -> bool:
    # Prose and code that speak of such blocks hold the header alone.
    # A bound, since the next header may be tried as well: half a key is within it.
    shown = block[:_BLOCK_CHARS].replace("PRIVATE KEY", "")
    return _KEY_LINE.search(shown) is not None


def _is_no_example(link: str) -> bool:
    # `://user:password@host` is what documents write where a reader is to put their own.
    return _EXAMPLE_LOGIN.match(link) is None


def _is_jwt(token: str) -> bool:
    # The signature is no JSON; the library checks header and payload alone by their index.
    return JwtTokenDetector.is_formally_valid(".".join(token.split(".")[:2]))


def _for_re2(pattern: re.Pattern[str]) -> str:
    # re2 knows no look-ahead and no repetition beyond 1000. Where a rule ends in one of them,
    # the stretching does its work.
    text = _LONG_REPETITION.sub(r"{\1}", pattern.pattern.replace(r"(?!\w)", ""))
    return f"(?i){text}" if pattern.flags & re.IGNORECASE else text


def _library_rules() -> Iterator[KeyRule]:
    for plugin in _PLUGINS:
        name = plugin.__name__.removesuffix("Detector")
        for pattern in plugin().denylist:
            yield _rule(f"detect-secrets.{name}", _for_re2(pattern), plugin)


# Forms that their issuers document and the library does not know (yet).
_ISSUED = {
    "google.api-key": r"\bAIza[0-9A-Za-z_\-]{35}",
    "google.oauth": r"\bya29\.[0-9A-Za-z_\-]{20}|\bGOCSPX-[0-9A-Za-z_\-]{28}",
    "azure.client-secret": r"[0-9A-Za-z_~.\-]{3}\dQ~[0-9A-Za-z_~.\-]{31}",
    "azure.sas": r"[?&]sig=[0-9A-Za-z%+/]{40}",
    "azure.shared-key": r"SharedAccessKey=[0-9A-Za-z+/]{40}",
    "github.pat": r"\bgithub_pat_[0-9A-Za-z_]{36}",
    "slack.app": r"\bxapp-\d-[0-9A-Z]{6,20}-\d{6,20}-[0-9a-z]{20}|\bxox[abceoprs]-[0-9A-Za-z\-]{20}",
    "stripe.key": r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16}|\bwhsec_[0-9A-Za-z+/]{24}",
    "openai.key": r"\bsk-(?:proj|svcacct|admin|None)-[0-9A-Za-z_\-]{20}|\bsk-[0-9A-Za-z]{40}",
    "anthropic.key": r"\bsk-ant-[0-9A-Za-z]{2,12}-[0-9A-Za-z_\-]{20}",
    "huggingface.token": r"\bhf_[0-9A-Za-z]{30}",
    "npm.token": r"\bnpm_[0-9A-Za-z]{36}",
    "digitalocean.token": r"\bdo[opr]_v1_[0-9a-f]{64}",
    "shopify.token": r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "databricks.token": r"\bdapi[0-9a-f]{32}",
    "vault.token": r"\bhv[sbr]\.[0-9A-Za-z_\-]{24}",
    "age.key": r"AGE-SECRET-KEY-1[0-9A-Z]{44}",
    "docker.token": r"\bdckr_[op]at_[0-9A-Za-z_\-]{20}",
    "linear.key": r"\blin_api_[0-9A-Za-z]{32}",
    "groq.key": r"\bgsk_[0-9A-Za-z]{40}",
    "grafana.token": r"\bgl(?:c_[0-9A-Za-z+/]{32}|sa_[0-9A-Za-z]{32}_[0-9A-Fa-f]{8})|\beyJrIjoi[0-9A-Za-z+/]{60}",
    "notion.token": r"\bntn_\d{11}[0-9A-Za-z]{35}|\bsecret_[0-9A-Za-z]{43}\b",
    "sourcegraph.token": r"\bsgp_(?:(?:[0-9a-fA-F]{16}|local)_)?[0-9a-fA-F]{40}",
    "planetscale.token": r"\bpscale_(?:tkn|oauth|pw)_[0-9A-Za-z_=.\-]{32}",
    "pulumi.token": r"\bpul-[0-9a-f]{40}",
    "prefect.token": r"\bpn[ub]_[0-9A-Za-z]{36}",
    "rubygems.token": r"\brubygems_[0-9a-f]{48}",
    "readme.token": r"\brdme_[0-9a-z]{70}",
    "doppler.token": r"\bdp\.(?:pt|st|ct|sa|scim|audit)\.[0-9A-Za-z.]{40}",
    "dynatrace.token": r"\bdt0[a-z]\d{2}\.[0-9A-Za-z]{24}\.[0-9A-Za-z]{64}",
    "duffel.token": r"\bduffel_(?:test|live)_[0-9A-Za-z_\-=]{43}",
    "flutterwave.key": r"\bFLW(?:SECK|PUBK)(?:_TEST)?-[0-9A-Za-z]{12}",
    "fly.token": r"\bfo1_[0-9A-Za-z_\-]{43}|\bfm[12][ar]?_[0-9A-Za-z+/]{80}",
    "frameio.token": r"\bfio-u-[0-9A-Za-z_\-=]{64}",
    "harness.key": r"\b[ps]at\.[0-9A-Za-z_\-]{22}\.[0-9A-Za-z]{20,24}\.[0-9A-Za-z]{20}",
    "terraform.token": r"\b[0-9A-Za-z]{14}\.atlasv1\.[0-9A-Za-z_\-=]{60}",
    "heroku.key": r"\bHRKU-[0-9A-Za-z_\-]{58}",
    "huggingface.organisation": r"\bapi_org_[A-Za-z]{34}",
    "infracost.key": r"\bico-[0-9A-Za-z]{32}",
    "intra42.secret": r"\bs-s4t2(?:ud|af)-[0-9a-f]{64}",
    "mailgun.key": r"\b(?:pub)?key-[0-9a-f]{32}|\bhttp-signing-[0-9a-f]{32}",
    "maxmind.key": r"\b[0-9A-Za-z]{6}_[0-9A-Za-z]{29}_mmk",
    "newrelic.key": r"\bNR(?:AK-[0-9A-Z]{27}|JS-[0-9a-f]{19}|II-[0-9A-Za-z\-]{32}|AL-[0-9a-f]{32})",
    "octopus.key": r"\bAPI-[0-9A-Z]{26}\b",
    "openshift.token": r"\bsha256~[0-9A-Za-z_\-]{43}",
    "perplexity.key": r"\bpplx-[0-9A-Za-z]{48}",
    "postman.key": r"\bPMAK-[0-9A-Fa-f]{24}-[0-9A-Fa-f]{34}",
    "scalingo.token": r"\btk-us-[0-9A-Za-z_\-]{48}",
    "brevo.key": r"\bxkeysib-[0-9a-f]{64}-[0-9A-Za-z]{16}",
    "sentry.token": r"\bsntry[us]_[0-9A-Za-z+/=_]{60}",
    "settlemint.token": r"\bsm_[aps]at_[0-9A-Za-z]{16}",
    "shippo.token": r"\bshippo_(?:live|test)_[0-9A-Fa-f]{40}",
    "slack.webhook": r"\bhooks\.slack\.com/(?:services|workflows|triggers)/[0-9A-Za-z+/]{40}",
    "teams.webhook": r"\.webhook\.office\.com/webhookb2/[0-9A-Za-z@\-]{40}",
    "discord.webhook": r"\bdiscord(?:app)?\.com/api/webhooks/\d{15,20}/[0-9A-Za-z_\-]{40}",
    "square.token": r"\b(?:EAAA|sq0[a-z]{3}-)[0-9A-Za-z_\-]{22}",
    "stripe.prod": r"\b[rs]k_prod_[0-9A-Za-z]{10}",
    "twilio.key": r"\bSK[0-9a-fA-F]{32}\b",
    "typeform.token": r"\btfp_[0-9A-Za-z_\-=.]{59}",
    "yandex.token": r"\bt1\.[A-Z0-9a-z_\-]{1,8}=*\.[A-Z0-9a-z_\-]{86}|\bAQVN[0-9A-Za-z_\-]{35}|\bYC[0-9A-Za-z_\-]{38}\b",
    "1password.key": r"\bA3-[0-9A-Z]{6}-(?:[0-9A-Z]{11}|[0-9A-Z]{6}-[0-9A-Z]{5})-[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{5}|\bops_eyJ[0-9A-Za-z+/]{200}",
    "adobe.secret": r"\bp8e-[0-9A-Za-z]{32}",
    "airtable.token": r"\bpat[0-9A-Za-z]{14}\.[0-9a-f]{64}",
    "alibaba.key": r"\bLTAI[0-9A-Za-z]{17,21}\b",
    "artifactory.key": r"\bAKCp[0-9A-Za-z]{69}|\bcmVmd[0-9A-Za-z]{59}",
    "authress.key": r"\b(?:sc|ext|scauth|authress)_[0-9a-z]{5,30}\.[0-9a-z]{4,6}\.acc[_\-][0-9a-z\-]{10,32}\.[0-9a-z+/_=\-]{20}",
    "bedrock.key": r"\bABSK[0-9A-Za-z+/]{109}|\bbedrock-api-key-[0-9A-Za-z]{24}",
    "clickhouse.key": r"\b4b1d[0-9A-Za-z]{38}\b",
    "clojars.token": r"\bCLOJARS_[0-9A-Za-z]{60}",
    "cloudflare.origin": r"\bv1\.0-[0-9a-f]{24}-[0-9a-f]{140}",
    "dropbox.token": r"\bsl\.[0-9A-Za-z\-=_]{130}",
    "easypost.key": r"\bEZ[AT]K[0-9A-Za-z]{54}",
    "facebook.token": r"\bEAA[MC][0-9A-Za-z]{100}|\b\d{15,16}(?:\||%7C)[0-9A-Za-z_\-]{27,40}\b",
    "gitlab.more": r"\bglffct-[0-9A-Za-z_\-]{20}|\b_gitlab_session=[0-9a-z]{32}",
    "vault.legacy": r"\bs\.[0-9A-Za-z]{24}\b",
    "telegram.bot": r"\bbot\d{8,10}:[0-9A-Za-z_\-]{35}",
    "launchdarkly.key": r"\b(?:sdk|api|mob)-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    "asana.token": r"\b[01]/\d{16}:[0-9a-f]{32}",
    "url.login": r"://[\w.%\-]{0,40}:[^\s/@\"'<>{}]{6,64}@[\w\-]",
    "http.authorization": r"(?i)\bauthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:bearer|basic|token|apikey|api-token|digest)\s{1,3}[0-9a-z_\-.+/=~]{12}",
}
_PEM = r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"


def _own_rules() -> Iterator[KeyRule]:
    for name, pattern in _ISSUED.items():
        yield _rule(f"form.{name}", pattern)
    yield _rule("form.pem", _PEM, PrivateKeyDetector)


KEY_RULES = (_rule(_OWN_TOKEN, TOKEN_FORM), *_library_rules(), *_own_rules())


def find_keys(rule: KeyRule, text: str, budget: Budget) -> Iterator[Finding]:
    """The spans that one rule finds; each is looked at once, however often it begins."""
    done = 0
    for match in rule.compiled.finditer(text):
        start, end = match.span()
        if start < done:
            continue
        if text[max(0, start - 1) : start].isalnum() and text[start : start + 1].isalnum():
            continue  # it begins within a word, a digest or a sequence
        budget.spend()
        end = rule.stretch(text, end)
        budget.work(_STRETCH_WORK * min(end - start, _BLOCK_CHARS))
        if rule.valid(text[start:end]):
            done = end
            if rule.stretch is _over_key_block:
                start = len(text[:start].rstrip("-"))
            yield Finding(SECRET_KEY, start, end, 0.9, rule.name)
