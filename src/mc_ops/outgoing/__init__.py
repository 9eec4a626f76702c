"""The one place where the operations side makes clients for outgoing HTTP.

Whoever answers must not hold up or fill the memory of who asks, nor leave anything in its client:
no cookies are kept, no redirects followed, no proxies of the environment used; an answer ends at a
size and a time, headers that drip included, and is not unpacked. Slow to import are the libraries,
so each has a module: `clients` (httpx), `sessions` (aiohttp: the canary's load, the local edge),
`loopback` (neither). tests/architecture/test_outgoing_http.py holds that nobody else makes a client.
"""

from __future__ import annotations
