"""Screening: what in a message is sensitive, where it stands, and the message without it.

Finds and replaces; never judges. Which label may pass, and to whom, is written in `policies/`.

    screener = LibraryScreener()
    screening = screener.screen(({"text": "write to bob@example.com"},))
    screening.types                                    # frozenset({'email'})
    screener.redact(({"text": "write to bob@example.com"},), screening)
                                                       # ({'text': 'write to [email]'},)
"""

from mc_platform.screen.screener import LibraryScreener

__all__ = ["LibraryScreener"]
