"""The worker as a process: its socket, its beats, and how it goes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import zmq

from hotbunk.placement import Placement
from hotbunk.worker.protocol import (
    Beat,
    Command,
    Ended,
    Failed,
    Hello,
    Load,
    Loaded,
    Open,
    Opened,
    Produced,
    Report,
    Shutdown,
    Start,
    Token,
    decode_report,
    encode,
)
from tests.worker.rig import SAMPLINGS, tokens

R = TypeVar("R", bound=Report)
GREEDY = SAMPLINGS["greedy"]


class Wire:
    """The runtime's end of a worker's socket."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = f"ipc://{folder}/worker"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.bind(self.endpoint)

    def send(self, *commands: Command) -> None:
        for command in commands:
            self._socket.send(encode(command))

    def send_raw(self, frame: bytes) -> None:
        self._socket.send(frame)

    def receive(self) -> Report:
        assert self._socket.poll(60_000), "the worker is silent"
        report: Report = decode_report(self._socket.recv())
        return report

    def until(self, kind: type[R]) -> R:
        """Skip reports up to the first of a kind."""
        while not isinstance(report := self.receive(), kind):
            pass
        return report

    def close(self) -> None:
        self._context.destroy()


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(tmp_path)
    yield wire
    wire.close()


def _command(wire: Wire, *more: str) -> list[str]:
    return [sys.executable, "-m", "hotbunk.worker", "--endpoint", wire.endpoint, "--threads", "1", *more]


@pytest.fixture
def worker(wire: Wire, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = _command(wire, "--device", "cpu", "--host-parent-pid", str(os.getpid()))
    with subprocess.Popen(command, env=environment) as process:
        yield process
        process.kill()


def _load(wire: Wire, path: Path, slots: int = 2) -> None:
    wire.send(Open("m", str(path)), Load("m", Placement(3, 256, slots)))
    wire.until(Loaded)


def test_says_hello_beats_and_answers(wire: Wire, worker: subprocess.Popen[bytes], smollm2: Path) -> None:
    hello = wire.receive()
    assert isinstance(hello, Hello)
    assert (hello.device, hello.threads, hello.moves, hello.reason) == ("CPU", 1, True, "")
    assert 0 < hello.memory_free <= hello.memory_total
    beat = wire.until(Beat)
    assert (beat.busy, beat.operation, beat.device) == (0, "", 0)
    wire.send_raw(b"\x01nonsense")
    assert "not a command" in wire.until(Failed).message
    wire.send(Open("m", str(smollm2)))
    assert wire.until(Opened).layers == 31
    wire.send(Load("m", Placement(3, 256, 2)))
    loaded = wire.until(Loaded)
    wire.send(Start(1, "m", tokens(5), GREEDY, 6, []))
    got: list[Token] = []
    while not isinstance(report := wire.receive(), Ended):
        got += report.tokens if isinstance(report, Produced) else []
    assert [token.sequence for token in got] == [1] * 6
    assert (report.sequence, report.reason) == (1, "length")
    assert wire.until(Beat).device == loaded.device.total


def test_exits_when_told_to(wire: Wire, worker: subprocess.Popen[bytes], smollm2: Path) -> None:
    _load(wire, smollm2)
    wire.send(Start(1, "m", tokens(5), GREEDY, 200, []), Shutdown())
    ended = wire.until(Ended)
    assert (ended.sequence, ended.reason) == (1, "cancelled")
    assert worker.wait(60) == 0


def test_ctrl_c_is_the_runtimes_business(wire: Wire, worker: subprocess.Popen[bytes]) -> None:
    wire.until(Beat)
    worker.send_signal(signal.SIGINT)
    wire.until(Beat)
    wire.send(Shutdown())
    assert worker.wait(60) == 0


def test_killed_and_begun_again_from_its_tokens(
    wire: Wire, worker: subprocess.Popen[bytes], smollm2: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    _load(wire, smollm2)
    wire.send(Start(1, "m", tokens(5), GREEDY, 30, []))
    got = [wire.until(Produced).tokens[0].token for _ in range(5)]
    worker.kill()
    assert worker.wait(60) == -signal.SIGKILL
    folder = tmp_path / "again"
    folder.mkdir()
    again = Wire(folder)
    command = _command(again, "--device", "cpu")
    with subprocess.Popen(command, env=environment) as second:
        _load(again, smollm2)
        again.send(Start(1, "m", tokens(5), GREEDY, 30, [], generated=got))
        while not isinstance(report := again.receive(), Ended):
            if isinstance(report, Produced):
                got += [token.token for token in report.tokens]
        again.send(Shutdown())
        assert second.wait(60) == 0
    again.close()
    assert report.reason == "length"
    assert len(got) == 30


def test_ends_with_its_engine(wire: Wire, environment: dict[str, str], smollm2: Path) -> None:
    """While the host store is being filled, too, by a thread that would be waited for."""
    broken = """if True:
        from threading import Event
        from hotbunk.llama.copy import Copy
        from hotbunk.worker.__main__ import main
        from hotbunk.worker.engine import Engine

        def step(engine, well=Engine.step):
            well(engine)
            if engine._store.filling:
                raise MemoryError("no memory at all")

        Engine.step, Copy.fill = step, lambda copy: Event().wait()
        main()
    """
    command = [sys.executable, "-c", broken, *_command(wire, "--device", "cpu", "--host-memory", str(1 << 30))[3:]]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as worker:
        wire.send(Open("m", str(smollm2)))
        try:
            _, said = worker.communicate(timeout=60)
        finally:
            worker.kill()
    assert worker.returncode == 1
    assert b"the engine failed" in said and b"MemoryError: no memory at all" in said


def test_goes_with_its_parent(wire: Wire, environment: dict[str, str]) -> None:
    """The parent is killed; the worker's standard output, held by nobody else, then comes to its end."""
    start = "import os, subprocess, sys, time; subprocess.Popen([*sys.argv[1:], str(os.getpid())]); time.sleep(600)"
    command = [sys.executable, "-c", start, *_command(wire, "--device", "cpu", "--host-parent-pid")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        wire.until(Beat)
        parent.kill()
        out, _ = parent.communicate(timeout=60)
        assert out == b""


def test_a_device_that_is_not_there(wire: Wire, environment: dict[str, str]) -> None:
    for device, said in [("CUDA77", "known devices: auto, cpu"), ("rpc:127.0.0.1:1", "nobody answers")]:
        done = subprocess.run(_command(wire, "--device", device), env=environment, capture_output=True, check=False)
        assert done.returncode == 2
        last = done.stderr.decode().strip().splitlines()[-1]
        assert last.startswith("hotbunk.worker: ")
        assert said in last
