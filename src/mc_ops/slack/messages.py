"""What is said in Slack, as Block Kit; made from results as JSON, so it knows no other room."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

LONGEST_TEXT = 2900  # Slack's limit for a section is 3,000 characters
_LONGEST_HEADER = 150
_LONGEST_FIELD = 1900  # and 2,000 for a field
_LONGEST_NAME = 100  # of a metric
_RANKS = {"fail": 0, "pass": 2}  # the order of outcomes; others between
_ICONS = {"PROMOTE": ":white_check_mark:", "HOLD": ":no_entry:"}


@dataclass(frozen=True, slots=True)
class Message:
    """A message: the fallback text, and the blocks that Slack shows instead."""

    text: str
    blocks: tuple[dict[str, Any], ...]


def canary_message(
    verdict: Mapping[str, Any], *, override: Mapping[str, Any] | None = None, link: str = ""
) -> Message:
    """The message about a canary verdict.

    Args:
        verdict: What `verdict.json` has; figures may be null.
        override: `by`, `reason`, `index` and `decision` of an override of it, if there is one.
        link: Where samples and report are: an https URL, or a folder.
    """
    word = str(verdict["verdict"])
    rehearsal = "rehearsal, " if verdict["rehearsal"] else ""
    by_hand = f", overridden by {override['by']}" if override else ""
    headline = f"Canary: {word} ({rehearsal}margin {verdict['margin']}){by_hand}"
    reason = str(verdict["reason"])
    blocks: list[dict[str, Any]] = [
        header(headline),
        section(f"{_ICONS.get(word, ':grey_question:')} *{escaped(word)}* - {escaped(reason)}"),
        {"type": "section", "fields": [_field(name, text) for name, text in _figures(verdict)]},
    ]
    if override:
        blocks.insert(1, section(_overridden(override)))
    if metrics := _metrics(verdict.get("metrics")):
        blocks.append(section(metrics))
    if verdict["rehearsal"]:
        blocks.append(
            section(
                f":warning: *Rehearsal, margin {verdict['margin']}: not the full verdict.* "
                "Too few pairs were planned to decide the 5 % margin."
            )
        )
    about = [mrkdwn(_origin(verdict), _LONGEST_FIELD)]
    if link:
        about.append(mrkdwn(_link(link), _LONGEST_FIELD))
    blocks.append({"type": "context", "elements": about})
    why = f"{override['reason']} (the verdict stays HOLD)" if override else reason
    text = f"{escaped(headline)}: {escaped(why)}"
    return Message(text=cut(text, LONGEST_TEXT), blocks=tuple(blocks))


def from_host(message: Message, host: str) -> Message:
    """The message with the name of the machine that says it."""
    about = {"type": "context", "elements": [mrkdwn(f"from {escaped(host)}", _LONGEST_FIELD)]}
    return replace(message, blocks=(*message.blocks, about))


def unfinished_message(reason: str, *, hint: str = "", link: str = "") -> Message:
    """The message about a canary that gave no verdict.

    Args:
        reason: Why: what could not be told, or that it was interrupted.
        hint: What to do about it.
        link: As of `canary_message`.
    """
    headline = "Canary: no verdict"
    blocks = [header(headline), section(f":grey_question: *no verdict* - {escaped(reason)}")]
    if hint:
        blocks.append(section(escaped(hint)))
    if link:
        blocks.append({"type": "context", "elements": [mrkdwn(_link(link), _LONGEST_FIELD)]})
    return Message(text=cut(f"{headline}: {escaped(reason)}", LONGEST_TEXT), blocks=tuple(blocks))


def _overridden(override: Mapping[str, Any]) -> str:
    by, why = escaped(str(override["by"])), escaped(str(override["reason"]))
    return (
        f":warning: *Overridden by {by}*: {why}\nLedger entry {override['index']}, decision "
        f"`{escaped(str(override['decision']))}`. The verdict stays HOLD."
    )


def _metrics(told: object) -> str:
    """How the metrics were judged, together and each; empty if there are none."""
    if not isinstance(told, Mapping):
        return ""
    outcomes = told.get("metrics")
    pairs = list(outcomes.items()) if isinstance(outcomes, Mapping) else []
    # Those that passed last: they are what a text that is too long loses
    each = [
        f"• {cut(escaped(str(name)), _LONGEST_NAME)}: *{cut(escaped(str(outcome)), _LONGEST_NAME)}*"
        for name, outcome in sorted(pairs, key=lambda pair: _RANKS.get(pair[1], 1))
    ]
    head = f"*Metrics: {escaped(str(told.get('outcome')))}* - {escaped(str(told.get('reason')))}"
    return "\n".join([cut(head, LONGEST_TEXT // 2), *each])


def _link(link: str) -> str:
    """An https URL as a link; anything else, such as a folder, as text."""
    plain = link.isascii() and link.isprintable() and not set(link) & set(" <>|")
    if link.startswith("https://") and plain:
        return f"<{link.replace('&', '&amp;')}|Samples, report and log of this run>"
    return f"Samples and report: `{escaped(link).replace('`', '')}`"


def _figures(verdict: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures = [
        (f"{side} p95", f"{_ms(verdict[side]['p95_ms'])}, {_failed(verdict[side])}")
        for side in ("baseline", "candidate")
    ]
    interval = verdict["interval"]
    bounds = f" ({interval[0]:+.1%} to {interval[1]:+.1%})" if interval else ""
    regression = verdict["regression"]
    figures.append(
        ("regression", "not measured" if regression is None else f"{regression:+.1%}{bounds}")
    )
    runbook = verdict.get("runbook") or {}
    percent = runbook.get("regression_percent")
    figures.append(("runbook's figure", "not measured" if percent is None else f"{percent:+.1f} %"))
    return figures


def _failed(side: Mapping[str, Any]) -> str:
    return f"{side['errors']} of {side['n']} failed"


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} ms"


def _origin(verdict: Mapping[str, Any]) -> str:
    urls = verdict.get("urls") or {}
    sides = (
        f"{side} {', '.join(urls[side])}" for side in ("baseline", "candidate") if side in urls
    )
    return escaped(", ".join([*sides, f"ended {verdict.get('ended_at', 'unknown')}"]))


def header(text: str) -> dict[str, Any]:
    """A headline, cut to Slack's limit."""
    return {
        "type": "header",
        "text": {"type": "plain_text", "text": cut(_plain(text), _LONGEST_HEADER)},
    }


def section(text: str) -> dict[str, Any]:
    """A paragraph, cut to Slack's limit."""
    return {"type": "section", "text": mrkdwn(text, LONGEST_TEXT)}


def _field(name: str, text: str) -> dict[str, Any]:
    return mrkdwn(f"*{escaped(name)}*\n{escaped(text)}", _LONGEST_FIELD)


def mrkdwn(text: str, longest: int) -> dict[str, Any]:
    """Text in Slack's markup; verbatim: Slack makes no link and no mention out of its words."""
    return {"type": "mrkdwn", "text": cut(text, longest), "verbatim": True}


def escaped(text: str) -> str:
    """Slack's three control characters, so that a URL or reason cannot mention @channel."""
    return _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, longest: int) -> str:
    """At most so many characters, the last of them an ellipsis if some are left out."""
    if len(text) <= longest:
        return text
    kept = text[: longest - 1]
    return re.sub(r"&[a-z]*\Z", "", kept) + "…"  # half of an escaped character is none


def _plain(text: str) -> str:
    """Without halves of surrogate pairs, as a file's name may have them: JSON's UTF-8 has none."""
    return text.encode("utf-8", "replace").decode()
