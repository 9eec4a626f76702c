"""Rows over HTTP: taken as declared, or refused whole."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from tests.aggregate_fakes import dataset

from mc_platform.adapters.dataset_http import HttpRows, table_from
from mc_platform.errors import AgentFailed

ROW = {"id": "person-1", "town": "east", "place": 4, "income": 7.3, "secret": "no"}

ONE_ROW = (
    b'{"rows":[{"id":"person-1","town":"east","place":4,"secret":"no","income":%b,"more":%b}],'
    b'"error":null}'
)


@asynccontextmanager
async def _source(answer):
    """A source that answers so; yields the dataset that is read from it, and what it was asked."""
    asked = []

    async def get(request):
        asked.append(dict(request.query))
        return answer(request)

    app = web.Application()
    app.router.add_get("/people", get)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    rows = HttpRows()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/people"
        yield replace(dataset(), url=url), rows, asked
    finally:
        await rows.close()
        await runner.cleanup()


async def test_rows_of_one_tenant_are_read_in_steps_and_within_bounds():
    rows = [ROW, ROW | {"id": "person-2", "income": 5000, "place": -3}]
    async with _source(lambda _: web.json_response({"rows": rows})) as (declared, reader, asked):
        table = await reader.read(declared, "T 1&x=y")
    assert asked == [{"tenant": "T 1&x=y"}]
    assert table.units == ("person-1", "person-2")
    assert table.columns["income"] == (15, 200)  # 7.3 is nearest to 15 halves
    assert table.columns["place"] == (4, 0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda _: web.Response(status=500), "answers 500"),
        (lambda _: web.Response(status=302, headers={"Location": "/people"}), "answers 302"),
        (lambda _: web.Response(text="[]"), "a list `rows`"),
        (lambda _: web.Response(text="{" * 5000), "JSON that can be read"),
        *[
            (lambda _, body=body: web.Response(body=body), why)
            for body, why in (
                (b"", "JSON that can be read"),
                (b"<html>person-1</html>", "JSON that can be read"),
                (b"\xef\xbb\xbf{}", "JSON that can be read"),
                (b'{"rows":[]}{}', "JSON that can be read"),
                (ONE_ROW % (b"7", '"é"'.encode("latin-1")), "JSON that can be read"),
                (ONE_ROW % (b"7", b'"\\ud800"'), "JSON that can be read"),
                (ONE_ROW % (b"NaN", b"1"), "JSON that can be read"),
                (ONE_ROW % (b"1e309", b"1"), "JSON that can be read"),
                (ONE_ROW % (b"1" + b"0" * 5000, b"1"), "JSON that can be read"),
                (ONE_ROW % (b"7", b"[" * 45 + b"]" * 45), "nested deeper than 32"),
                (ONE_ROW % (b"7", b"[" * 100_000 + b"]" * 100_000), "JSON that can be read"),
                (ONE_ROW % (b"7", b"[" + b"[]," * 4_000_001 + b"1]"), "more than 8000000 values"),
                (ONE_ROW % (b'7,"income":8', b"1"), "key that stands twice"),
                (ONE_ROW % (b'7,"id":"person-2"', b"1"), "key that stands twice"),
                (ONE_ROW % (b"7", b'{"a":1,"a":":"}'), "key that stands twice"),
                (b'{"rows":[{"id":"person-1"}],"rows":[]}', "key that stands twice"),
                (b'{"error":"person-1"}', "a list `rows`"),
                (b'{"rows":null}', "a list `rows`"),
                (b'{"rows":[1]}', "a list `rows`"),
            )
        ],
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_source_that_does_not_answer_rows_fails_the_query(answer, why):
    """As the source's fault, which nothing of its content is told with."""
    async with _source(answer) as (declared, reader, _):
        with pytest.raises(AgentFailed, match=why) as failed:
            await reader.read(declared, "T")
    assert "person-1" not in failed.value.message + failed.value.hint


@pytest.mark.parametrize(
    ("income", "more", "steps"),
    [
        (b"9007199254740993", b"1", 200),
        (b"-1" + b"0" * 300, b"1", 0),
        (b"1e308", b"1", 200),
        (b"-0", b"null", 0),
        (b"7.3", b'"a \\": \\\\"', 15),
        (b"7.3", b'":)", "\\":" : ": "', 15),
        (b"7.3", b'"{input.x} ${MC_PORT}\\u0000"', 15),
    ],
)
async def test_what_is_odd_and_can_be_read_is_taken_within_its_bounds(income, more, steps):
    """Numbers are clamped to what is declared; what is not declared is passed over."""
    body = ONE_ROW % (income, more)
    headers = {"Set-Cookie": "sid=1", "Content-Type": "text/plain"}
    async with _source(lambda _: web.Response(body=body, headers=headers)) as (declared, reader, _):
        table = await reader.read(declared, "T")
    assert table.columns["income"] == (steps,)


async def test_a_source_that_is_down_fails_the_query():
    reader = HttpRows()
    with pytest.raises(AgentFailed, match="cannot be read"):
        await reader.read(replace(dataset(), url="http://127.0.0.1:1/people"), "T")
    await reader.close()


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([ROW, ROW], "two rows"),
        ([ROW | {"id": 7}], "no text 'id'"),
        ([ROW | {"town": "elsewhere"}], "'town'"),
        ([ROW | {"town": None}], "'town'"),
        ([ROW | {"income": "much"}], "'income'"),
        ([ROW | {"income": True}], "'income'"),
        ([ROW | {"income": float("nan")}], "'income'"),
        ([ROW | {"income": float("inf")}], "'income'"),
        ([ROW | {"income": 10**5000}], "'income'"),
        ([{key: value for key, value in ROW.items() if key != "secret"}], "'secret'"),
        ([ROW] * 200_001, "more than 200000"),
    ],
)
def test_rows_that_are_not_as_declared_are_refused_whole_and_never_quoted(rows, why):
    with pytest.raises(AgentFailed, match=why) as failed:
        table_from(rows, dataset())
    told = f"{failed.value.message} {failed.value.hint}"
    assert "person-1" not in told
    assert "elsewhere" not in told
