"""Web pages: those of allowed origins may ask from a browser, others not."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from hotbunk.gateway.app import Gateway, build
from tests.gateway.fake import Fake

UNLOAD = "/api/models/smol/unload"
FRIEND, STRANGER = "http://localhost:3000", "https://example.org"
Open = Callable[[list[str]], httpx.AsyncClient]


@pytest.fixture
def own(smollm2: Path) -> Fake:
    return Fake(smollm2)


@pytest.fixture
def web(own: Fake) -> Iterator[Open]:
    """What opens a client of a server that allows some origins."""
    gateway = Gateway(own)
    with closing(gateway.lexicons):
        yield lambda origins: httpx.AsyncClient(
            transport=httpx.ASGITransport(build(gateway, origins)), base_url="http://hotbunk:8080"
        )


@pytest.mark.anyio
@pytest.mark.parametrize("origin", [STRANGER, "http://hotbunk", "https://hotbunk:8080", "null"])
async def test_a_strangers_page_moves_nothing(web: Open, own: Fake, origin: str) -> None:
    plain = {"Origin": origin, "Content-Type": "text/plain"}  # what a browser sends without asking first
    answer = await web([FRIEND]).post(UNLOAD, headers=plain)
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "origin_not_allowed")
    assert f"--cors-origins {origin}" in error["message"] and "cors_origins" in error["message"]
    assert "access-control-allow-origin" not in answer.headers
    assert own.moves == []


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [{}, {"Origin": "http://hotbunk:8080"}, {"Origin": FRIEND}])
async def test_programs_own_pages_and_allowed_ones_may_ask(web: Open, own: Fake, headers: dict[str, str]) -> None:
    answer = await web([FRIEND]).post(UNLOAD, headers=headers)
    assert answer.status_code == 200
    assert own.moves == [("unload", "smol", None)]


@pytest.mark.anyio
@pytest.mark.parametrize(("origins", "allowed"), [([FRIEND], FRIEND), (["*"], "*")])
async def test_an_allowed_page_is_told_so_and_reads_its_answer(web: Open, origins: list[str], allowed: str) -> None:
    client, asking = web(origins), {"Origin": FRIEND}
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = await client.options("/v1/chat/completions", headers=asking | wanted)
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    answers = [preflight, await client.get("/v1/models", headers=asking)]
    answers += [await client.post("/v1/completions", headers=asking, content=b"{")]  # errors too
    assert [answer.headers["access-control-allow-origin"] for answer in answers] == [allowed] * 3


@pytest.mark.anyio
async def test_a_strangers_page_is_not_let_ask(web: Open) -> None:
    wanted = {"Origin": STRANGER, "Access-Control-Request-Method": "POST"}
    preflight = await web([]).options("/v1/chat/completions", headers=wanted)
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
