"""The engine: carries out commands and takes turns among models. No sockets, one device.

One thread owns it. Others only copy on its behalf, and wait for that: the bytes of promotions, and the host store's.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from hotbunk.errors import HotbunkError, OutOfMemory
from hotbunk.llama.device import Device
from hotbunk.llama.model import Model
from hotbunk.llama.pool import pool
from hotbunk.placement import Placement
from hotbunk.worker import moves
from hotbunk.worker.arena import Arena
from hotbunk.worker.outbox import Outbox
from hotbunk.worker.protocol import (
    Cancel,
    Command,
    Failed,
    Load,
    Open,
    Opened,
    Predict,
    Predicted,
    Report,
    Resize,
    Resume,
    Shutdown,
    Start,
    Suspend,
    Trim,
    Unload,
)
from hotbunk.worker.runner import Runner
from hotbunk.worker.sequence import Sequence
from hotbunk.worker.store import Store
from hotbunk.worker.watch import Watch

log = logging.getLogger("hotbunk.worker")

_MOVES = Load | Unload | Resize | Trim


class Engine:
    """One device's models and sequences. Give it commands with ``handle`` and time with ``step``.

    Attributes:
        device_bytes: what all loaded models take on the device, as libllama reports it.
    """

    def __init__(
        self,
        device: Device,
        threads: int,
        arena: Arena,
        report: Callable[[Report], None],
        store: Store | None = None,
        watch: Watch | None = None,
        ordinary: bool = False,
    ) -> None:
        """Without a ``store`` all weights stay in their files; ``ordinary``: each load is one of libllama's own."""
        self._ordinary = ordinary
        self.device_bytes = 0
        self._device = device
        self._pool = pool(device)
        self._threads = threads
        self._arena = arena
        self._report = Outbox(report, device.pinned)
        self._watch = watch or Watch()
        self._store = store or Store(device, 0, 0, lambda _: None, lambda: None)
        self._runners: dict[str, Runner] = {}
        self._queue: deque[Runner] = deque()
        self._arrivals = ThreadPoolExecutor(1, "arrival")
        self._moving: dict[str, moves.Move] = {}

    def handle(self, command: Command) -> None:
        """Carry out one command and report what came of it; whatever goes wrong is reported as ``Failed``."""
        self._report.flush()
        try:
            self._dispatch(command)
        except HotbunkError as error:
            self._fail(command, str(error), isinstance(error, OutOfMemory))
        except Exception as error:
            log.exception("unexpected error in %s", type(command).__name__)
            self._fail(command, f"{type(error).__name__}: {error}")
        if isinstance(command, _MOVES):
            self._replan()
        self._weigh()

    def step(self) -> bool:
        """Take up what has arrived, then let the next model that has something to do take its turn.

        False if none has.
        """
        self._store.step(self._loaded)
        for name in [name for name, move in self._moving.items() if move.arrival and move.arrival.done()]:
            self._finish(name)
        for _ in range(len(self._queue)):
            self._queue.rotate(-1)
            if self._queue[-1].name not in self._moving and self._queue[-1].turn():
                return True
        self._report.flush()
        return False

    def close(self) -> None:
        """Free everything."""
        for name in list(self._moving):
            self._finish(name)
        self._arrivals.shutdown()
        self._store.stop()
        for runner in self._queue:
            for sequence in list(runner.sequences.values()):
                runner.end(sequence, "cancelled", "the worker shuts down")
            moves.unload(runner, self._report)
            runner.model.close()
        self._queue.clear()
        self._runners.clear()
        self._pool.clear()
        self._store.close()

    def _dispatch(self, command: Command) -> None:
        if isinstance(command, _MOVES):
            self._pool.room = command.spare
        match command:
            case Open(model, path):
                self._open(model, Path(path))
            case Predict(model):
                self._report(Predicted(model, self._predict(self._runner(model), command)))
            case Load(model, placement):
                with self._watch(f"load {model}"):
                    self._store.loaded(model)
                    self._await(self._move(moves.load, model, placement))
            case Unload(model):
                with self._watch(f"unload {model}"):
                    self._report(moves.unload(self._settled(model), self._report))
                    self._pool.trim()
                self._store.unloaded()
            case Trim():
                self._pool.trim()
            case Resize(model, placement):
                with self._watch(f"resize {model}"):
                    self._await(self._move(moves.resize, model, placement))
            case Start(sequence, model):
                if self._find(sequence):
                    raise HotbunkError(f"sequence {sequence} exists already: give each its own number")
                self._settled(model).start(command)
            case Cancel(sequence) | Suspend(sequence) | Resume(sequence):
                if found := self._find(sequence):  # else it has just ended
                    self._change(command, *found)
            case Shutdown():
                self.close()

    def _change(self, command: Cancel | Suspend | Resume, runner: Runner, sequence: Sequence) -> None:
        self._settled(runner.name)
        match command:
            case Cancel():
                runner.end(sequence, "cancelled")
            case Suspend():
                self._report(runner.suspend(sequence))
            case Resume():
                if resumed := runner.resume(sequence):
                    self._report(resumed)

    def _open(self, name: str, path: Path) -> None:
        began = perf_counter()
        if name in self._runners:  # whoever asks again wants to know of it
            model = self._runners[name].model
            if model.path != path:
                raise HotbunkError(f"model {name} is open already: {model.path}, not {path}")
        else:
            with self._watch(f"open {name}"):
                model = Model(path, self._device, self._threads, self._ordinary)
            runner = self._runners[name] = Runner(name, model, self._arena, self._watch, self._report)
            self._queue.append(runner)
            self._store.add(name, model)
        self._report(Opened(name, model.layers, model.trained, model.weights, perf_counter() - began))

    def _predict(self, runner: Runner, asked: Predict) -> Placement:
        with self._watch(f"predict {runner.name}"):
            if asked.layers is not None:
                return runner.model.predict(asked.layers, asked.context, asked.slots, asked.experts, asked.cached)
            if fit := runner.model.fit(asked.budget, asked.context, asked.slots):
                return fit
            least = runner.model.predict(0, asked.context, asked.slots).device.total
        raise HotbunkError(
            f"model {runner.name} needs {least} bytes on the device even with no layer there "
            f"({asked.slots} slots of {asked.context} tokens), the budget leaves {asked.budget}"
        )

    # ------------------------------------------------------------ what is on its way

    def _move(self, kind: Callable[..., moves.Move], model: str, placement: Placement) -> moves.Move:
        return kind(self._settled(model), placement, self._store.has(model), self._arrivals, self._report)

    def _await(self, move: moves.Move) -> None:
        """Report the move when its bytes have arrived; the other models have their turns meanwhile."""
        self._moving[move.runner.name] = move
        self._watch.begin(perf_counter(), f"promote {move.runner.name}")
        if move.arrival:
            move.arrival.add_done_callback(lambda _: self._store.wake())
        else:
            self._finish(move.runner.name)

    def _finish(self, name: str) -> None:
        move = self._moving.pop(name)
        try:
            if move.arrival:
                move.arrival.result()
            self._report(move.finish(self._report))
        finally:
            self._watch.end(perf_counter(), f"promote {name}")
        self._weigh()

    def _replan(self) -> None:
        """Have graphs sent anew to a device that has no pinned memory: one behind libggml's RPC server.

        Whenever memory is given back there, anybody's, the server forgets the last graph, which libggml may yet refer
        to: both would abort.
        """
        if self._device.is_cpu or self._device.pinned:
            return
        for context in (runner.context for runner in self._queue):
            if context is not None:
                context.rearrange(context.device, context.host)

    def _settled(self, name: str) -> Runner:
        """The runner of an open model, with nothing of it on its way."""
        if name in self._moving:
            self._finish(name)
        return self._runner(name)

    def _loaded(self) -> set[str]:
        return {runner.name for runner in self._queue if runner.context is not None}

    def _weigh(self) -> None:
        self.device_bytes = sum(runner.device.total for runner in self._queue)

    def _runner(self, name: str) -> Runner:
        if name in self._runners:
            return self._runners[name]
        known = ", ".join(self._runners) or "none"
        raise HotbunkError(f"model {name} is not open here (open: {known})")

    def _find(self, sequence: int) -> tuple[Runner, Sequence] | None:
        for runner in self._queue:
            if sequence in runner.sequences:
                return runner, runner.sequences[sequence]
        return None

    def _fail(self, command: Command, message: str, memory: bool = False) -> None:
        name, sequence = getattr(command, "model", None), getattr(command, "sequence", None)
        self._report(Failed(type(command).__name__, message, name, sequence, memory))
