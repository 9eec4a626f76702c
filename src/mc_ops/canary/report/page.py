"""The report as one HTML file that stands alone: no script, no other file, no address fetched.

Its Content-Security-Policy allows its own style, by digest, and the picture inside; so even a text
that escaped its escaping could load or run nothing.
"""

from __future__ import annotations

import base64
import hashlib

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mc_ops.canary.report.content import ReportContent

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --soft: #4b5563; --line: #d1d5db;
  --paper: #ffffff; --ground: #f3f4f6; --good: #00664b; --bad: #a3200f; --warn: #fff7e0;
  --warn-line: #b7791f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e5e7eb; --soft: #a7b0bd; --line: #3b4452;
  --paper: #1b222d; --ground: #11161e; --good: #4ade9f; --bad: #ff9a85; --warn: #322a14;
  --warn-line: #d8a53c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
header, section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 1.1rem 1.4rem; margin-bottom: 1rem; }
header.good { border-left: 8px solid var(--good); }
header.bad { border-left: 8px solid var(--bad); }
h1 { margin: 0 0 .3rem; font-size: 1.6rem; line-height: 1.25; }
.good h1 { color: var(--good); }
.bad h1 { color: var(--bad); }
h2 { margin: 0 0 .6rem; font-size: 1.1rem; }
p { margin: .3rem 0; overflow-wrap: anywhere; }
section.by-hand { background: var(--warn); border-color: var(--warn-line); border-width: 2px; }
img { display: block; width: 100%; height: auto; border-radius: 6px; background: #ffffff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 400; }
.named tbody th { width: 34%; }
.named td { overflow-wrap: anywhere; }
tr:last-child > * { border-bottom: 0; }
.pair { display: grid; gap: 1rem; grid-template-columns: 1fr; }
@media (min-width: 52rem) { .pair { grid-template-columns: 1fr 1fr; }
  .pair .named tbody th { width: 50%; } }
.pair section { margin: 0; }
.pair { margin-bottom: 1rem; }
footer { color: var(--soft); font-size: .9rem; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Canary: {{ content.title }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header class="{{ 'good' if content.promote else 'bad' }}">
<h1><span aria-hidden="true">{{ '✔' if content.promote else '✘' }}</span> Canary: {{ content.title }}</h1>
<p>{{ content.reason }}</p>
</header>
{%- macro pairs(rows) %}
<div class="wide named"><table><tbody>
{%- for name, value in rows %}
<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{%- endfor %}
</tbody></table></div>
{%- endmacro %}
{%- macro grid(rows) %}
<div class="wide" tabindex="0"><table><thead><tr>
{%- for name in rows[0] %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead><tbody>
{%- for row in rows[1:] %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody></table></div>
{%- endmacro %}
{%- if content.override %}
<section class="by-hand">
<h2>Overridden by hand; the verdict stays {{ content.verdict }}</h2>
{{- pairs(content.override) }}
</section>
{%- endif %}
<section>
<h2>What was seen</h2>
<img alt="Distributions of both sides' latencies, the regression of the p95 with its interval as pairs came in, and when the verdict was reached. The figures are in the tables below." src="data:image/png;base64,{{ picture }}">
</section>
<div class="pair">
<section>
<h2>The two sides</h2>
{{- grid(content.sides) }}
</section>
<section>
<h2>The comparison</h2>
{{- pairs(content.comparison) }}
</section>
</div>
{%- if content.metrics %}
<section>
<h2>Metrics</h2>
{{- grid(content.metrics) }}
</section>
{%- endif %}
{%- if content.failures %}
<section>
<h2>Failures</h2>
{{- grid((('side', 'failure', 'count'),) + content.failures) }}
</section>
{%- endif %}
{%- if content.run %}
<section>
<h2>The run</h2>
{{- pairs(content.run) }}
</section>
{%- endif %}
<footer>
{%- for note in content.notes %}
<p>{{ note }}</p>
{%- endfor %}
</footer>
</main>
</body>
</html>
"""


def page(content: ReportContent, picture: bytes) -> str:
    """The page.

    Args:
        content: Its texts and tables.
        picture: PNG.
    """
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_PAGE).render(
        content=content,
        picture=base64.b64encode(picture).decode(),
        style=Markup(_STYLE),  # noqa: S704 - our own text, and the policy has its digest
        policy=Markup(policy),  # noqa: S704 - our own text
    )
