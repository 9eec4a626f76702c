"""The report as one HTML file that stands alone: no script, no other file, no address fetched.

Its Content-Security-Policy allows its own style, by digest, and the picture inside; so even a text
that escaped its escaping could load or run nothing. `page.html` and `page.css` are the layout.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mc_ops.canary.report.content import ReportContent

_FOLDER = Path(__file__).parent


def page(content: ReportContent, picture: bytes) -> str:
    """The page.

    Args:
        content: Its texts and tables.
        picture: PNG.
    """
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    template = (_FOLDER / "page.html").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(template).render(
        content=content,
        picture=base64.b64encode(picture).decode(),
        style=Markup(style),  # noqa: S704 - our own text, and the policy has its digest
        policy=Markup(policy),  # noqa: S704 - our own text
    )
