"""The runtime's end of a worker's socket, with nothing of the runtime: what a worker does, timed where it arrives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from time import monotonic, perf_counter
from typing import TypeVar

import zmq

from hotbunk.errors import ConfigError, EngineError, OutOfMemory
from hotbunk.measure.words import Words
from hotbunk.placement import Placement
from hotbunk.sampling import Sampling
from hotbunk.worker.hang import hung
from hotbunk.worker.life import environment
from hotbunk.worker.protocol import (
    Beat,
    Cancel,
    Command,
    Ended,
    Failed,
    Hello,
    Load,
    Loaded,
    Predict,
    Predicted,
    Produced,
    Report,
    Resize,
    Resume,
    Resumed,
    Shutdown,
    Start,
    Suspend,
    Suspended,
    Token,
    Unload,
    Unloaded,
    address,
    decode_report,
    encode,
)

__all__ = [
    "CONTEXT",
    "GREEDY",
    "LONGEST",
    "PATIENCE",
    "PROMPT",
    "Died",
    "Move",
    "Outrun",
    "Wire",
    "above_store",
    "prompt",
    "worker",
]

PROMPT = [100 + n * 37 for n in range(16)]
"""Token ids that every model has."""
CONTEXT = 512
"""Tokens of context that go with it."""
GREEDY = Sampling(temperature=0)
LONGEST = 600.0
"""Seconds that one operation of a worker may last; it is taken for hung then, as a server does by default."""
PATIENCE = 180.0
"""Seconds that a worker may take to begin, or may have nothing to do while a report of it is awaited."""
_PARTING = 20.0  # seconds that it may take to leave

Move = Load | Unload | Resize | Suspend | Resume
_ANSWERS = {Load: Loaded, Resize: Loaded, Unload: Unloaded, Suspend: Suspended, Resume: Resumed}
_R = TypeVar("_R", bound=Report)


class Died(EngineError):
    """The worker's process ended by itself.

    Attributes:
        failed: whether it did because its GPU's work had failed; another had better do without CUDA graphs.
    """

    def __init__(self, status: int, failure: str = "") -> None:
        """``failure``: of its GPU, in libggml's words."""
        super().__init__(f"the worker ended with status {status}{failure and f': {failure}'}; its last words are above")
        self.failed = bool(failure)


class Outrun(EngineError):
    """A sequence filled its context before this process, which may have been kept waiting, could end or suspend it."""


class Wire:
    """A worker's socket.

    Attributes:
        hello: the worker's first report.
        beat: its last sign of life; None before the first.
        excess: the most bytes its resident memory ever had above what is in the host store.
        produced: all tokens of each sequence.
        ended: the last report of each sequence that is over.
    """

    def __init__(self, folder: str) -> None:
        try:
            self.endpoint = address(Path(folder))
        except ConfigError as error:
            raise EngineError(str(error)) from error
        self.hello: Hello
        self.beat: Beat | None = None
        self.excess = 0
        self.produced: dict[int, list[Token]] = {}
        self.ended: dict[int, Ended] = {}
        self.process: subprocess.Popen[str] | None = None
        self.words: Words | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.bind(self.endpoint)
        self._next = 0
        self._worked = 0.0  # when it last showed that it has something to do

    def send(self, command: Command) -> None:
        """Send a command; answers are read by the other methods.

        Raises:
            EngineError: as ``receive`` does, if nobody is there to take it.
        """
        while True:
            try:
                return self._socket.send(encode(command), zmq.NOBLOCK)
            except zmq.Again:
                self.receive()

    def receive(self) -> Report:
        """The next report, beats included.

        Raises:
            OutOfMemory: the worker says that a command failed for want of device memory.
            Died: it has died.
            EngineError: it refuses to begin, hangs, or says that a command failed.
        """
        began = monotonic()
        while not self._socket.poll(1000):
            self._alive(monotonic() - began)
            if self.process and self.process.poll() is not None:
                if self.words and (refusal := self.words.refusal()):
                    raise EngineError(refusal)
                raise Died(self.process.returncode, self.words.failure() if self.words else "")
        report: Report = decode_report(self._socket.recv())
        if isinstance(report, Failed):
            raise (OutOfMemory if report.memory else EngineError)(report.message)
        if not isinstance(report, Beat) or report.busy:
            self._worked = monotonic()
        if isinstance(report, Beat):
            self.beat = report
            self._alive()
            self.excess = max(self.excess, above_store(report))
        elif isinstance(report, Produced):
            for token in report.tokens:
                self.produced.setdefault(token.sequence, []).append(token)
        elif isinstance(report, Ended):
            self.ended[report.sequence] = report
        return report

    def until(self, kind: type[_R]) -> _R:
        """The next report of that kind; others are passed over.

        Raises:
            EngineError: as ``receive`` does.
        """
        began = monotonic()
        while not isinstance(report := self.receive(), kind):
            self._check(began, kind.__name__)
        return report

    def ask(self, command: Command, answer: type[_R]) -> _R:
        """Send a command and wait for its answer."""
        self.send(command)
        return self.until(answer)

    def fresh(self) -> Beat:
        """A beat that was made after this call."""
        self.until(Beat)  # one may have been on its way
        return self.until(Beat)

    def predict(self, model: str, context: int, slots: int, layers: int, cached: int | None = None) -> Placement:
        """The placement of that many layers, priced."""
        return self.ask(Predict(model, context, slots, layers, cached=cached), Predicted).placement

    def move(self, *commands: Move) -> tuple[float, list[Report]]:
        """Send commands as soon as the protocol allows; seconds until the last answer, and the answers in order.

        Raises:
            Outrun: a sequence to be suspended is over.
        """
        began, pending, answers = perf_counter(), list[Move](), list[Report]()
        for command in commands:
            while any(_model(command) == _model(earlier) is not None for earlier in pending):
                answers.append(self._answer(pending))
            self.send(command)
            pending.append(command)
        while pending:
            answers.append(self._answer(pending))
        return perf_counter() - began, answers

    def start(self, model: str, prompt: list[int], most: int, sampling: Sampling = GREEDY, **more: int) -> int:
        """Start a sequence that nothing but its length ends; returns its number."""
        self._next += 1
        self.send(Start(self._next, model, prompt, sampling, most, [], **more))  # type: ignore[arg-type]
        return self._next

    def tokens(self, sequence: int, count: int) -> list[Token]:
        """The next ``count`` tokens of a sequence, or fewer if it ends.

        Raises:
            EngineError: it ended by an error.
        """
        tokens: list[Token] = []
        began = monotonic()
        while len(tokens) < count and sequence not in self.ended:
            report = self.receive()
            if isinstance(report, Produced):
                tokens += [token for token in report.tokens if token.sequence == sequence]
            self._check(began, f"tokens of sequence {sequence}")
        self._failed(sequence)
        return tokens

    def going(self, sequences: Iterable[int]) -> None:
        """See to it that nothing has ended these.

        Raises:
            Outrun: there was no room left for one.
            EngineError: one ended by an error.
        """
        for sequence in sequences:
            self._failed(sequence)
            if sequence in self.ended:
                raise Outrun(f"sequence {sequence} filled its context before its end was wanted; is this machine busy?")

    def finish(self, sequence: int) -> Ended:
        """Wait until a sequence is over."""
        while sequence not in self.ended:
            self.tokens(sequence, 1)
        return self.ended[sequence]

    def cancel(self, sequence: int) -> None:
        """End a sequence, unless it is over."""
        self.send(Cancel(sequence))
        self.finish(sequence)

    def close(self) -> None:
        """Close the socket; what was not sent yet is dropped."""
        self._context.destroy(linger=0)

    def _answer(self, pending: list[Move]) -> Report:
        """The next report that answers one of the pending commands, which is struck off."""
        began = monotonic()
        while True:
            self.going(command.sequence for command in pending if isinstance(command, Suspend))
            report = self.receive()
            for command in pending:
                if _answers(command, report):
                    pending.remove(command)
                    return report
            self._check(began, f"answer to {type(pending[0]).__name__}")

    def _failed(self, sequence: int) -> None:
        if sequence in self.ended and self.ended[sequence].reason == "error":
            raise EngineError(f"sequence {sequence} ended early: {self.ended[sequence].message}")

    def _alive(self, silent: float = 0.0) -> None:
        """See to it that the worker does not hang; it may take its time before the first beat."""
        if self.beat is None:
            if silent > PATIENCE:
                raise EngineError(f"the worker has not begun for {PATIENCE:g} s")
        elif why := hung(self.beat, silent, LONGEST):
            raise EngineError(f"the worker {why}")

    def _check(self, began: float, awaited: str) -> None:
        """See to it that a worker with nothing to do is not waited for, from ``began`` on, for ever."""
        if monotonic() - max(began, self._worked) > PATIENCE:
            raise EngineError(f"the worker has had nothing to do for {PATIENCE:g} s, and sent no {awaited}")


def above_store(beat: Beat) -> int:
    """Bytes of resident memory that are neither the host store's nor the pinned arena's."""
    return beat.rss - beat.arena - sum(there for there, _ in beat.stored.values())


def prompt(count: int, seed: int = 0, vocabulary: int = 700) -> list[int]:
    """Random token ids that every model has, whose ``vocabulary`` may be less than usual."""
    return [token % vocabulary for token in Random(seed).choices(range(100, 700), k=count)]


@contextmanager
def worker(device: str, threads: int | None = None, *options: str, graphs: bool = True) -> Iterator[Wire]:
    """A worker process of its own, with more ``options`` if wanted; killed at the end if it does not leave.

    ``graphs``: whether it may record CUDA graphs.

    Raises:
        EngineError: there is no such device, or no room for the name of a socket.
    """
    with tempfile.TemporaryDirectory(prefix="hotbunk-") as folder, closing(Wire(folder)) as wire:
        command = [sys.executable, "-m", "hotbunk.worker", "--endpoint", wire.endpoint, "--device", device, *options]
        command += ["--threads", str(threads)] if threads else []
        command += ["--host-parent-pid", str(os.getpid())]
        # in a group of its own: Ctrl-C is for this process, which then ends the worker
        pipe, how = subprocess.PIPE, environment(os.environ, graphs)
        with subprocess.Popen(command, env=how, stderr=pipe, text=True, errors="replace", process_group=0) as process:
            assert process.stderr
            wire.process, wire.words = process, Words(process.stderr)
            try:
                wire.hello = wire.until(Hello)
                yield wire
                wire.send(Shutdown())
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_PARTING)
            finally:
                process.kill()  # harmless when it has gone
                wire.words.refusal()  # all that it said is passed on


def _model(command: Move) -> str | None:
    return None if isinstance(command, Suspend | Resume) else command.model


def _answers(command: Move, report: Report) -> bool:
    if not isinstance(report, _ANSWERS[type(command)]):
        return False
    return isinstance(report, Suspended | Resumed) or getattr(report, "model", None) == _model(command)
