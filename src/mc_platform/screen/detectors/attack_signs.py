"""Signs of an attack in text: wording, smuggled calls of tools, links that carry data away."""

from __future__ import annotations

from mc_platform.screen.detectors.exfiltration_links import LINK_FINDERS, leads_to
from mc_platform.screen.detectors.prompt_injection import INJECTION_FINDERS
from mc_platform.screen.detectors.recogniser import Shaped

__all__ = ["SIGN_FINDERS", "leads_to"]

SIGN_FINDERS: tuple[Shaped, ...] = (*INJECTION_FINDERS, *LINK_FINDERS)
"""Each finder, with the shape that must occur in a string before it is asked."""
