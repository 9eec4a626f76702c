"""Clients for outgoing HTTP are made in one place of each package, and nowhere else in `src`.

What such a client must not do (keep cookies, follow redirects, use the environment's proxies, wait
or read without end) is said there once; a client that is made elsewhere has none of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
FACTORIES = ("mc_platform/adapters/http/", "mc_ops/outgoing/")
_HTTPX = (
    "Client AsyncClient HTTPTransport AsyncHTTPTransport get post put patch delete head options "
    "request stream"
)
MAKERS = frozenset(
    {
        *(f"httpx.{name}" for name in _HTTPX.split()),
        *(f"aiohttp.{name}" for name in ("ClientSession", "request", "TCPConnector")),
        "aiohttp.UnixConnector",
        "aiohttp.client.ClientSession",
        "http.client.HTTPConnection",
        "http.client.HTTPSConnection",
    }
)
LIBRARIES = frozenset(
    {
        "urllib.request",
        "urllib3",
        "requests",
        "httpcore",
        "h11",
        "httptools",
        "h2",
        "pycurl",
        "slack_sdk",
        "websockets",
        "xmlrpc.client",
        "tornado.httpclient",
    }
)


def made_in(source: str) -> list[str]:
    """What a module's text uses of HTTP libraries to make clients, with the lines."""
    tree = ast.parse(source)
    names: dict[str, str] = {}  # as the module calls it: as it is called in full
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _library(node.lineno, alias.name)
                top = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or top] = top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found += _library(node.lineno, full)
                if alias.name == "*" and any(name.startswith(node.module) for name in MAKERS):
                    found.append((node.lineno, full))
                names[alias.asname or alias.name] = full
    for node in _evaluated(tree):
        full = _full_name(node, names)
        if full in MAKERS or (full and any(full.startswith(f"{name}.") for name in LIBRARIES)):
            found.append((node.lineno, full))  # type: ignore[attr-defined] # an expression has one
    return [f"line {line}: {name}" for line, name in sorted(set(found))]


def _library(line: int, name: str) -> Iterator[tuple[int, str]]:
    if any(f"{name}.".startswith(f"{library}.") for library in LIBRARIES):
        yield line, name


def _evaluated(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but annotations, which name types and make nothing."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield node
                yield from _evaluated(node)


def _full_name(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute) and (inner := _full_name(node.value, names)):
        return f"{inner}.{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id in ("import_module", "__import__") and node.args:
            named = node.args[0]
            return str(named.value) if isinstance(named, ast.Constant) else ""
        if node.func.id == "getattr" and len(node.args) > 1:
            inner, named = _full_name(node.args[0], names), node.args[1]
            return f"{inner}.{named.value}" if isinstance(named, ast.Constant) else ""
    return ""


def test_only_the_factories_make_clients():
    """No other module makes one, however it is imported."""
    found = {
        str(path.relative_to(SRC)): made
        for path in sorted(SRC.rglob("*.py"))
        if not str(path.relative_to(SRC)).startswith(FACTORIES)
        and (made := made_in(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_the_factories_are_where_this_test_looks_for_them():
    """Each has a module that makes clients; otherwise the test above would allow what is not there."""
    for factory in FACTORIES:
        assert any(made_in(path.read_text()) for path in (SRC / factory).glob("*.py"))


@pytest.mark.parametrize(
    "source",
    [
        "import httpx\nhttpx.Client()",
        "import httpx as h\nwith h.AsyncClient() as c: pass",
        "from httpx import get\nget('http://x')",
        "from httpx import Client as C\nmake = C",
        "import httpx\ndef f():\n    return httpx.post('http://x')",
        "import httpx\nclass Mine(httpx.Client): pass",
        "from functools import partial\nimport aiohttp\np = partial(aiohttp.ClientSession)",
        "def f():\n    import aiohttp\n    return aiohttp.ClientSession()",
        "from aiohttp.client import ClientSession\nClientSession()",
        "from aiohttp import *",
        "import urllib.request\nurllib.request.urlopen('http://x')",
        "from urllib.request import urlopen",
        "from urllib import request",
        "import requests",
        "import http.client\nhttp.client.HTTPSConnection('x')",
        "from http.client import HTTPConnection\nHTTPConnection('x')",
        "from slack_sdk.webhook import WebhookClient",
        "import httpcore",
        "import httpx\ngetattr(httpx, 'Client')()",
    ],
)
def test_a_client_is_found_however_it_is_made(source: str):
    """The check above can fail."""
    assert made_in(source)


@pytest.mark.parametrize(
    "source",
    [
        "import httpx\ndef f(client: httpx.Client) -> httpx.AsyncClient: ...",
        "import httpx\nx: httpx.Client | None = None",
        "import httpx\ntry: pass\nexcept httpx.HTTPError: pass",
        "from urllib.parse import urlsplit\nurlsplit('x')",
        "from http import HTTPStatus\nHTTPStatus.OK",
        "import http.client\nhttp.client.OK",
    ],
)
def test_types_and_errors_of_the_libraries_may_be_named(source: str):
    """Naming a type makes nothing."""
    assert made_in(source) == []
