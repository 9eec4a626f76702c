"""The picture of a drill, as SVG: each tenant's requests on a time line, with what was done when.

Colours are of Okabe and Ito's palette; outcomes differ by their height as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from mc_contract.drill import OUTCOMES, Course, Request

_WIDTH, _LEFT, _RIGHT, _LANE, _TOP = 1000, 130, 20, 46, 56
_COLOURS = {
    "acknowledged": "#007A5A",
    "refused": "#E69F00",
    "maybe": "#56B4E9",
    "failed": "#B42318",
}
_HEIGHTS = {"acknowledged": 14, "refused": 20, "maybe": 26, "failed": 32}
_MARKS = (
    ("fault_s", "fault"),
    ("decided_s", "decision"),
    ("mended_s", "mended"),
    ("moved_s", "recovered"),
)


def draw(course: Course, times: Mapping[str, float | None], rows: Sequence[Request]) -> str:
    """The SVG text."""
    tenants = sorted({row.tenant for row in rows})
    end_s = max(row.ended_s for row in rows)
    height = _TOP + _LANE * len(tenants) + 40
    scale = (_WIDTH - _LEFT - _RIGHT) / end_s

    def x(at_s: float) -> float:
        return round(_LEFT + at_s * scale, 1)

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        (
            f'<text x="10" y="20" font-size="15">Drill {escape(course.scenario)}: requests by when they '
            "were due</text>"
        ),
    ]
    for number, outcome in enumerate(OUTCOMES):
        at = _LEFT + 120 * number
        parts.append(f'<rect x="{at}" y="30" width="10" height="10" fill="{_COLOURS[outcome]}"/>')
        parts.append(f'<text x="{at + 14}" y="39">{outcome}</text>')
    for lane, tenant in enumerate(tenants):
        base = _TOP + _LANE * (lane + 1)
        parts.append(f'<text x="10" y="{base - 4}">{escape(tenant)}</text>')
        for outcome in OUTCOMES:
            tall = _HEIGHTS[outcome]
            strokes = "".join(
                f"M{x(row.sent_s)} {base}v-{tall}"
                for row in rows
                if row.tenant == tenant and row.outcome == outcome
            )
            if strokes:
                parts.append(f'<path d="{strokes}" stroke="{_COLOURS[outcome]}" fill="none"/>')
    for name, word in _MARKS:
        at_s = times.get(name)
        if at_s is not None:
            parts.append(
                f'<path d="M{x(at_s)} {_TOP}V{height - 34}" stroke="#111111" '
                'stroke-dasharray="4 3" fill="none"/>'
                f'<text x="{x(at_s) + 3}" y="{height - 22 + 12 * (word == "decision")}">'
                f"{word} {at_s:.1f} s</text>"
            )
    return "\n".join([*parts, "</svg>", ""])
