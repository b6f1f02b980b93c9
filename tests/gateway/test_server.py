"""The server itself: ports that are taken, and how it ends."""

import contextlib
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hotbunk.errors import ConfigError
from hotbunk.gateway.server import address, bind

PROGRAM = """
import asyncio, sys
from pathlib import Path
from hotbunk.gateway.server import serve
from tests.gateway.fake import Fake

async def main():
    fake = Fake(Path(sys.argv[1]))
    fake.hang = True
    await serve(fake, "127.0.0.1", 0, lambda url: print(url, flush=True))
    print("quiet", flush=True)

asyncio.run(main())
"""


def test_a_port_in_use_is_said() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: address already in use.*--port"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("no such host", 0), ("a..b", 0), ("127.0.0.1", 99999), ("203.0.113.1", 0)])
def test_an_address_that_cannot_be_is_said(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match="cannot serve on"):
        bind(host, port)


def test_an_address_is_a_url() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert address(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def program(smollm2: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves what hangs, and its address."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "src")])
    command = [sys.executable, "-c", PROGRAM, str(smollm2)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def _ended(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "quiet\n" and process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_lets_the_caller_go_on(
    program: tuple[subprocess.Popen[str], str], number: signal.Signals
) -> None:
    process, url = program
    assert httpx.get(f"{url}/healthz").status_code == 200
    process.send_signal(number)
    assert _ended(process)


def test_a_second_signal_does_not_wait_for_running_answers(program: tuple[subprocess.Popen[str], str]) -> None:
    process, url = program
    body = {"model": "smol", "prompt": "x", "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert "the server is stopping" in [line for line in lines if line][-1]
        assert _ended(process)


def test_a_request_that_never_ends_does_not_keep_it(program: tuple[subprocess.Popen[str], str]) -> None:
    process, url = program
    where = httpx.URL(url)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n{"
    with socket.create_connection((where.host, where.port or 80)) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")  # it is waiting for the body
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 503 ") and b"the server is stopping" in answer
    assert _ended(process)


def test_a_connection_is_kept_for_longer_than_clients_keep_theirs(program: tuple[subprocess.Popen[str], str]) -> None:
    url = httpx.URL(program[1])
    with contextlib.closing(http.client.HTTPConnection(url.host, url.port)) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        # httpx, and openai with it, takes a connection again for 5 s; closed just then, a request would be lost
        assert select.select([connection.sock], [], [], 5.5) == ([], [], [])
