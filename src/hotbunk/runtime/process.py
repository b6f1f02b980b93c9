"""A worker process, seen from the runtime: started, spoken to, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import zmq
import zmq.asyncio

from hotbunk.config import Config, DeviceConfig
from hotbunk.errors import ConfigError, HotbunkError
from hotbunk.worker.hang import hung
from hotbunk.worker.life import environment, failure
from hotbunk.worker.protocol import Beat, Command, Hello, Report, Shutdown, address, decode_report, encode

log = logging.getLogger("hotbunk.runtime")

PATIENCE = 5.0
"""Seconds that a worker gets to exit when asked to."""


class WorkerLost(HotbunkError):
    """The worker process died, or hung and was killed."""


class DeviceFailed(WorkerLost):
    """It ended because its GPU's work had failed."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes of host memory for one worker: its store of weights, and states that are suspended; None: it decides."""

    store: int | None
    arena: int | None
    held: int

    @classmethod
    def of(cls, config: Config) -> Shares:
        """One worker's part of what is configured for all of them."""
        count = len(config.all_devices)

        def part(whole: int | None) -> int | None:
            return None if whole is None else whole // count

        return cls(part(config.host_memory), part(config.arena), config.held_memory)

    def options(self) -> list[str]:
        """The worker's arguments."""
        store, arena = ("auto" if size is None else str(size) for size in (self.store, self.arena))
        return ["--host-memory", store, "--arena", arena, "--held-budget", str(self.held)]


class Worker:
    """One life of a worker process. Use ``start``; ``beat`` is the last sign of life, ``hello`` the first."""

    def __init__(self, device: DeviceConfig, shares: Shares, spill: Path, hang: float, graphs: bool) -> None:
        """Prepare one.

        Args:
            device: what it serves.
            shares: its part of the host's memory.
            spill: folder for what that does not hold.
            hang: seconds that one operation may last.
            graphs: whether it may record CUDA graphs.
        """
        self._device, self._shares, self._spill, self._hang, self.graphs = device, shares, spill, hang, graphs
        self._folder: Path | None = None
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.set_hwm(0)
        self._socket.linger = 0
        self._process: asyncio.subprocess.Process | None = None
        self._words: deque[str] = deque(maxlen=20)
        self._failure = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = monotonic()
        self.hello: Hello | None = None
        self.beat: Beat | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return self._process.pid if self._process else None

    async def start(self) -> Hello:
        """Start the process and wait until it is up.

        Raises:
            ConfigError: it will not serve this device; the message is its own.
            WorkerLost: it died at once for another reason.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="hotbunk-"))
        endpoint = address(self._folder)
        self._socket.bind(endpoint)
        options = ["--endpoint", endpoint, "--device", self._device.name, *self._shares.options()]
        options += ["--spill-dir", str(self._spill), "--host-parent-pid", str(os.getpid())]
        options += ["--threads", str(self._device.threads)] if self._device.threads else []
        command = [sys.executable, "-m", "hotbunk.worker", *options]
        pipe = asyncio.subprocess.PIPE
        how = environment(os.environ, self.graphs)
        self._process = await asyncio.create_subprocess_exec(*command, stderr=pipe, env=how)
        self._tasks.append(asyncio.create_task(self._listen(self._process)))
        self._heard = monotonic()
        report = await self.receive()
        if not isinstance(report, Hello):
            raise WorkerLost(f"the worker began with {report} instead of a hello")
        self.hello = report
        return report

    def send(self, command: Command) -> None:
        """Send a command; never blocks, and is on its way before this returns.

        To a dead worker it goes nowhere: ``receive`` will say so.
        """
        future = asyncio.ensure_future(self._socket.send(encode(command)))
        future.add_done_callback(lambda sent: sent.cancelled() or sent.exception())

    async def receive(self) -> Report:
        """The next report.

        Raises:
            WorkerLost: the process is gone, or has been killed because it hung.
        """
        while not await self._socket.poll(1000):
            await self._check()
        report: Report = decode_report(await self._socket.recv())
        self._heard = monotonic()
        if isinstance(report, Beat):
            self.beat = report
            await self._check()
        return report

    async def _check(self) -> None:
        process = self._process
        assert process is not None
        if process.returncode is not None:
            await asyncio.gather(*self._tasks)  # its last words
            last = self._words[-1] if self._words else ""
            if process.returncode == 2 and self.hello is None:
                raise ConfigError(last.removeprefix("hotbunk.worker: ") or "no device")
            raise self._lost(f"exited with status {process.returncode}", self._failure or last)
        if why := hung(self.beat, monotonic() - self._heard, self._hang):
            process.kill()
            raise self._lost(why, self._failure)

    def _lost(self, how: str, said: str) -> WorkerLost:
        kind = DeviceFailed if self._failure else WorkerLost
        return kind(f"the worker of {self._device.name} {how}{said and f': {said}'}")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for text in lines(process.stderr):
            self._failure = self._failure or failure(text)
            self._words.append(text)
            log.info("worker of %s: %s", self._device.name, text)

    async def close(self) -> None:
        """End the process: asked first, killed if it does not listen."""
        if self._process:
            with contextlib.suppress(TimeoutError, ProcessLookupError):
                if self._process.returncode is None:
                    self.send(Shutdown())
                    await asyncio.wait_for(self._process.wait(), PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            await asyncio.gather(*self._tasks)
        self._socket.close()
        self._context.term()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


async def lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """What a worker says, line by line; what is longer than the stream's limit is left out, since nobody reads it."""
    while not stream.at_eof():
        with contextlib.suppress(ValueError):
            if line := await stream.readline():
                yield line.decode(errors="replace").rstrip()
