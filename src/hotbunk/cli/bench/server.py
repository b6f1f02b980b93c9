"""A server in a process of its own, asked as a client would."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

from hotbunk.errors import EngineError

__all__ = ["Server", "free_port", "running"]

START = 120.0
"""Seconds that a server may take until it is up."""
ANSWER = 300.0
"""Seconds that an answer may take."""
_HOST = "127.0.0.1"


class Server:
    """An HTTP server that speaks OpenAI's API; ``name`` is for messages."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._port = port

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{_HOST}:{self._port}"

    def get(self, path: str) -> Any:
        """The JSON at a path.

        Raises:
            EngineError: it does not answer, or with an error.
        """
        return self._json("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON that a request is answered with.

        Raises:
            EngineError: it does not answer, or with an error.
        """
        return self._json("POST", path, body)

    def first_token(self, model: str, prompt: str) -> float:
        """Seconds from a streamed request until the first token of its answer.

        Raises:
            EngineError: it does not answer, or with an error.
        """
        body = {"model": model, "prompt": prompt, "max_tokens": 4, "temperature": 0, "stream": True}
        began, seconds = perf_counter(), None
        with self._answer("POST", "/v1/completions", body) as answer:
            for line in answer:  # to the end, so that the server is at rest when the next request comes
                if line.startswith(b"data: {"):
                    seconds = seconds or perf_counter() - began
                    if b'"error"' in line:
                        raise EngineError(f"{self.name} answers with {line.decode().strip()}")
        if seconds is None:
            raise EngineError(f"{self.name} has ended its answer without a token")
        return seconds

    def wait_stored(self, most: float) -> None:
        """Wait until hotbunk's host store has no more to take in; at most so many seconds."""
        ends, before = monotonic() + most, None
        while monotonic() < ends:
            devices = self.get("/api/state")["devices"]
            stored = [device["stored"] for device in devices]
            if stored == before and not any(device["filling"] for device in devices):
                return
            before = stored
            sleep(3)

    def _json(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        with self._answer(method, path, body) as answer:
            return json.loads(answer.read())

    @contextmanager
    def _answer(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[HTTPResponse]:
        with closing(HTTPConnection(_HOST, self._port, timeout=ANSWER)) as connection:
            try:
                content = None if body is None else json.dumps(body)
                connection.request(method, path, content, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                if answer.status != 200:
                    raise EngineError(f"{self.name} answers {path} with {answer.status}: {answer.read(500)!r}")
                yield answer
            except (OSError, HTTPException) as error:
                raise EngineError(f"{self.name} does not answer {path}: {error!r}") from error


@contextmanager
def running(
    name: str, command: list[str], port: int, health: str, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """Start a server, wait until ``health`` answers, and stop it at the end.

    Raises:
        EngineError: it does not come up; with the last line it said.
    """
    with tempfile.NamedTemporaryFile(prefix="hotbunk-", suffix=".log") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            server = Server(name, port)
            _await(server, health, process, Path(log.name))
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server((_HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _await(server: Server, health: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = monotonic() + START
    while process.poll() is None and monotonic() < ends:
        try:
            server.get(health)
            return
        except EngineError:
            sleep(0.05)
    said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
    state = "is not up yet" if process.poll() is None else f"ended with status {process.returncode}"
    raise EngineError(f"{server.name} {state}; it said last: {said[-1]}")
