"""Keeps a worker alive: whatever kills it, another takes its place, and the driver is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from hotbunk.errors import EngineError, HotbunkError
from hotbunk.runtime.process import DeviceFailed, Worker, WorkerLost
from hotbunk.worker.protocol import Command, Failed, Hello, Open, Opened, Predict, Predicted, Report

log = logging.getLogger("hotbunk.runtime")

SLOWEST = 30.0
"""Seconds between attempts to start a worker, at the most."""


class Supervisor:
    """One device's worker through all its lives.

    ``make`` makes a worker, with CUDA graphs or without, ``take`` gets every report that is no answer to ``ask``, and
    raises ``WorkerLost`` at one after which the worker is of no use any more, ``lost`` is called when a worker has
    died, ``failed`` each time that no other could be started, ``restored`` awaited when one is up, before ``take`` is
    trusted with work again.
    """

    def __init__(
        self,
        make: Callable[[bool], Worker],
        take: Callable[[Report], None],
        lost: Callable[[], None],
        failed: Callable[[Exception], None],
        restored: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._make, self._take, self._lost, self._failed, self._restored = make, take, lost, failed, restored
        self._graphs = True
        self.worker = make(True)
        self.restarts = 0
        self._answers: dict[str, asyncio.Future[Report]] = {}
        self._asking = asyncio.Lock()
        self._open = asyncio.Event()
        self._restoring: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> Hello:
        """Start the first worker.

        Raises:
            ConfigError: it will not serve this device.
            WorkerLost: it died at once.
        """
        hello = await self.worker.start()
        self._reading = self._listen()
        self._open.set()
        self._life = asyncio.create_task(self._live())
        return hello

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Meanwhile there is no worker, and another one afterwards; to be used before anything was asked of it."""
        await self.close()
        yield
        self.worker = self._make(self._graphs)
        await self.start()

    def send(self, command: Command) -> None:
        """Send a command; its report, if any, goes to ``take``."""
        self.worker.send(command)

    async def ask(self, command: Open | Predict) -> Opened | Predicted:
        """Send a command and wait for its answer; one question after the other, and none before a worker is restored.

        Only what restores it asks at once: before that no model is open there.

        Raises:
            EngineError: the worker cannot do it, in its own words.
            WorkerLost: it died over it.
        """
        if self.restoring:
            return await self._answered(command)
        async with self._asking:
            while not self._open.is_set():  # it may be lost again before we are woken
                await self._open.wait()
            return await self._answered(command)

    @property
    def restoring(self) -> bool:
        """Whether it is ``restored`` that runs now."""
        return self._restoring is not None and asyncio.current_task() is self._restoring

    async def _answered(self, command: Open | Predict) -> Opened | Predicted:
        future = self._answers[command.model] = asyncio.get_running_loop().create_future()
        self.worker.send(command)
        report = await future
        if isinstance(report, Failed):
            raise EngineError(report.message)
        assert isinstance(report, Opened | Predicted)
        return report

    async def close(self) -> None:
        """End the worker for good."""
        await _over(self._life)
        await self._part()

    async def _part(self) -> None:
        """From this worker nothing is heard any more."""
        await _over(self._reading)
        await self.worker.close()

    def _listen(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._read(self.worker))

    async def _read(self, worker: Worker) -> None:
        while True:
            try:
                report = await worker.receive()
            except Exception as error:
                self._drop(error if isinstance(error, WorkerLost) else WorkerLost(f"it cannot be heard: {error}"))
                raise
            if isinstance(report, Opened | Predicted) or (isinstance(report, Failed) and report.command in _ASKED):
                future = self._answers.pop(report.model or "", None)
                if future and not future.done():
                    future.set_result(report)
                continue
            try:
                self._take(report)
            except WorkerLost as lost:
                self._drop(lost)
                raise
            except Exception:  # a bug in one report's handling must not end the service of all others
                log.exception("could not handle %s", report)

    async def _live(self) -> None:
        while True:
            assert self._reading is not None
            try:
                await self._reading
            except Exception as error:  # a report that cannot be read is no reason to have no worker any more
                how = "" if self._graphs else " without CUDA graphs"
                log.error("%s; starting another%s", error, how, exc_info=not isinstance(error, HotbunkError))
            self._lost()
            await self._replace()

    async def _replace(self) -> None:
        """Start workers until one is up, more and more slowly."""
        pause = 0.25
        while True:
            await self._part()
            try:
                self.worker = self._make(self._graphs)
                self.restarts += 1
                await self.worker.start()
                self._reading = reading = self._listen()
                self._restoring = restoring = asyncio.create_task(self._restored())
                await asyncio.wait({reading, restoring}, return_when=asyncio.FIRST_COMPLETED)
                if not restoring.done():
                    restoring.cancel()
                    await reading
                await restoring
                if not reading.done():  # else it is lost again already
                    self._open.set()
                return
            except Exception as error:  # the system's too: it may be out of processes or of memory, but not for ever
                log.error("no new worker yet: %s", error, exc_info=not isinstance(error, HotbunkError | OSError))
                self._drop(error if isinstance(error, WorkerLost) else WorkerLost(str(error)))
                self._failed(error)
            await asyncio.sleep(pause := min(SLOWEST, 2 * pause))

    def _drop(self, lost: WorkerLost) -> None:
        """Whoever asked the worker that is gone gets no answer; whoever asks now waits for the next.

        After a failure of the GPU that has no CUDA graphs, with which libggml's matrix products may fail: the requests
        that went on there would meet the same again.
        """
        self._graphs = self._graphs and not isinstance(lost, DeviceFailed)
        self._open.clear()
        for future in self._answers.values():
            if not future.done():
                future.set_exception(lost)
        self._answers.clear()


async def _over(task: asyncio.Task[None] | None) -> None:
    """End a task; if something else has ended it before, that has been told."""
    if task:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


_ASKED = {"Open", "Predict"}
